//! Machine tests: facts in, orders and notices out.

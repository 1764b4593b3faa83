//! Machine tests: facts in, orders and notices out; then a simulated world.

mod desk;
mod deps;
mod flow;
mod health;
mod make;
mod matrix;
mod speed;
mod table;
mod takeover;
mod world;

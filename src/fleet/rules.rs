//! What keeps a fleet safe, rule by rule. All of them hold; a simulated world leaves one out to show that it is needed.

/// Which rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own, and left out alone")]
pub struct Rules {
    /// Who begins to drive is promised to by a node before it acts there, and whoever has not promised counts as unavailable.
    pub barrier: bool,
    /// A node obeys exactly the token that it is promised to, not any that is as great.
    pub equality: bool,
    /// A node remembers its steps.
    pub ledger: bool,
    /// What is unavailable is what is seen to be, not what this driver took down.
    pub observed: bool,
    /// Everything is looked at again at the moment of acting, after the drain.
    pub again: bool,
    /// What a node says counts only if it was said after what it answered last.
    pub in_sequence: bool,
    /// Traffic is sent to an instance again once it is seen to be well, not once its command succeeded.
    pub gate: bool,
    /// A step that was too long under way is not done.
    pub age: bool,
}

impl Rules {
    /// Every rule.
    pub const ALL: Self = Self {
        barrier: true,
        equality: true,
        ledger: true,
        observed: true,
        again: true,
        in_sequence: true,
        gate: true,
        age: true,
    };
}

impl Default for Rules {
    fn default() -> Self {
        Self::ALL
    }
}

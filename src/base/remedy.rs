//! What is done about a service that a probe finds unhealthy, as it was decided.

/// What is done; the words are those of rows and fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// It is restarted now.
    Restart,
    /// It is asked to reload now.
    Reload,
    /// Nothing yet: it is restarted when that is not held back any more, if it is still unhealthy then.
    Held(HeldBack),
    /// Nothing.
    Nothing,
    /// It is up again, and well as far as is known: nothing is over before that has lasted.
    Recovering,
}

/// What holds a restart back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBack {
    /// So many were there already.
    Budget,
    /// Someone works on the unit.
    Maintenance,
}

impl Remedy {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Restart,
        Self::Reload,
        Self::Held(HeldBack::Budget),
        Self::Held(HeldBack::Maintenance),
        Self::Nothing,
        Self::Recovering,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Held(HeldBack::Budget) => "held_by_budget",
            Self::Held(HeldBack::Maintenance) => "held_by_maintenance",
            Self::Nothing => "nothing",
            Self::Recovering => "recovering",
        }
    }

    /// Reads its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|remedy| remedy.as_str() == text)
    }

    /// For people, of a unit that they know. True also a while after it was decided: what is held back may be done by then.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Restart => "it is restarted",
            Self::Reload => "it is asked to reload",
            Self::Held(HeldBack::Budget) => {
                "nothing while the budget of restarts by probes is spent; then it is restarted, if it is still unhealthy"
            }
            Self::Held(HeldBack::Maintenance) => {
                "nothing while the unit is in maintenance; then it is restarted, if it is still unhealthy"
            }
            Self::Nothing => "nothing: someone has to act",
            Self::Recovering => "it is up again; this is over once it has stayed well",
        }
    }
}

impl HeldBack {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "the budget of restarts by probes is spent",
            Self::Maintenance => "the unit is in maintenance",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_remedy_is_read_by_its_name() {
        for remedy in Remedy::ALL {
            assert_eq!(Remedy::parse(remedy.as_str()), Some(remedy));
        }
        assert_eq!(Remedy::parse("prayer"), None);
    }
}

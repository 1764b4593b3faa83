use std::fmt;

/// Why a text is no calendar event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no calendar event: {fault}")]
pub struct CalendarError {
    /// The whole text.
    pub text: String,
    /// What is wrong with it.
    pub fault: CalendarFault,
}

/// What is wrong with a calendar event, with the part that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CalendarFault {
    /// Nothing stands there, or nothing but a time zone.
    Empty,
    /// A weekday is misspelt, or a range of them is open or runs backwards.
    Weekdays(String),
    /// No number, list, range or step of numbers.
    Numbers(String),
    /// A step of zero.
    StepOfZero(String),
    /// A range of less than a second without a step.
    ShortRange(String),
    /// A value that this part of a date or time cannot have.
    Outside {
        /// Which part: `hour` …
        part: &'static str,
        /// The component.
        value: String,
        /// The least value.
        least: u32,
        /// The largest.
        most: u32,
    },
    /// The date is cut off or goes on where it should end.
    Date(String),
    /// The time is cut off or goes on where it should end.
    Time(String),
    /// `@` without a number of seconds.
    Timestamp(String),
}

impl fmt::Display for CalendarFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::Weekdays(part) => write!(f, "cannot read {part:?} as weekdays"),
            Self::Numbers(part) => write!(f, "cannot read {part:?} as numbers"),
            Self::StepOfZero(part) => write!(f, "the step of {part:?} is zero"),
            Self::ShortRange(part) => write!(f, "the range of {part:?} is shorter than its step of a second"),
            Self::Outside { part, value, least, most } => {
                write!(f, "{value:?} does not fit into {part}, which goes from {least} to {most}")
            }
            Self::Date(part) => write!(f, "cannot read {part:?} as a date"),
            Self::Time(part) => write!(f, "cannot read {part:?} as a time"),
            Self::Timestamp(part) => write!(f, "cannot read {part:?} as seconds since 1970"),
        }
    }
}

impl CalendarError {
    /// What to write instead.
    pub const fn help(&self) -> &'static str {
        match &self.fault {
            CalendarFault::Empty => "write for example \"daily\" or \"Mon..Fri *-*-* 02:30:00\"",
            CalendarFault::Weekdays(_) => "write \"Mon\", \"Mon,Wed\" or \"Mon..Fri\", or a word such as \"daily\"",
            CalendarFault::Numbers(_) => "write \"5\", \"1,5\", \"1..5\", \"0/15\", \"1..30/2\" or \"*\"",
            CalendarFault::StepOfZero(_) => "leave the step out",
            CalendarFault::ShortRange(_) => "write a step, for example \"1..1.5/0.1\"",
            CalendarFault::Outside { .. } => "a range and a step must end within it too",
            CalendarFault::Date(_) => {
                "write \"2026-12-24\", \"*-12-24\" or \"12-24\" (\"~\" before the day counts from the month's end)"
            }
            CalendarFault::Time(_) => "write \"02:30\" or \"02:30:00\"",
            CalendarFault::Timestamp(_) => "write for example \"@1767225600\", which is UTC and takes no time zone",
        }
    }
}

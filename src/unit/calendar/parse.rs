//! The grammar of systemd.time(7), CALENDAR EVENTS; where the manual is silent, what systemd 252 takes.

use std::str::FromStr;

use super::{
    CalendarError, CalendarFault, CalendarSpec, EVERY_WEEKDAY, MICROS_PER_SEC, YEAR_MAX, YEAR_MIN, ZoneName,
    component::{Chain, Component},
    zone,
};

/// Weekdays from Monday on; each may be written as its first three letters.
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Names and what they stand for.
const SHORTHANDS: [(&str, &str); 13] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("bi-annually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    // systemd's own slip of the pen, which it still reads.
    ("anually", "*-01-01 00:00:00"),
];

/// Components of one part; systemd has the same limit.
const COMPONENTS_MAX: usize = 240;
/// Digits of a second that count.
const FRACTION_DIGITS: u32 = 6;

impl FromStr for CalendarSpec {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        read(text).map_err(|fault| CalendarError { text: text.to_owned(), fault })
    }
}

fn read(text: &str) -> Result<CalendarSpec, CalendarFault> {
    let (when, zone) = zone::split(text);
    if when.is_empty() {
        return Err(CalendarFault::Empty);
    }
    let long = SHORTHANDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(when)).map_or(when, |(_, long)| long);
    let (weekdays, rest) = weekdays(long)?;
    if let Some(seconds) = rest.strip_prefix('@') {
        return match zone {
            ZoneName::Local | ZoneName::Utc => timestamp(seconds, weekdays),
            ZoneName::Named(name) => Err(CalendarFault::Timestamp(format!("{rest} {name}"))),
        };
    }
    let mut cursor = Cursor { rest };
    let Date { mut year, month, day, from_month_end } = cursor.date()?;
    let Time { hour, minute, second } = cursor.time()?;
    for component in &mut year {
        component.start = full_year(component.start);
        component.stop = component.stop.map(full_year);
    }
    let spec = CalendarSpec {
        weekdays,
        from_month_end: from_month_end && !day.is_empty(),
        year: Chain::normal(year),
        month: Chain::normal(month),
        day: Chain::normal(day),
        hour: Chain::normal(hour),
        minute: Chain::normal(minute),
        second: Chain::normal(second),
        zone,
    };
    spec.check()?;
    Ok(spec)
}

/// The bits of the weekdays, and what follows them.
fn weekdays(text: &str) -> Result<(u8, &str), CalendarFault> {
    let refused = || CalendarFault::Weekdays(text.split(' ').next().unwrap_or_default().to_owned());
    let (mut bits, mut from, mut rest) = (0, None, text);
    loop {
        let Some((day, tail)) = weekday(rest) else {
            // A date or time may come first; after a comma or dots it may not.
            let begins_so = bits == 0 && !text.starts_with(|c: char| c.is_ascii_alphabetic());
            return if begins_so { Ok((EVERY_WEEKDAY, text)) } else { Err(refused()) };
        };
        let ends_range = from.is_some();
        let first = from.take().unwrap_or(day);
        if first > day {
            return Err(refused());
        }
        bits |= (first..=day).fold(0, |bits, day| bits | 1 << day);
        rest = if tail.is_empty() || tail.starts_with(' ') {
            tail
        } else if let Some(tail) = tail.strip_prefix(',') {
            tail
        } else if let Some(tail) = tail.strip_prefix("..").or_else(|| tail.strip_prefix('-')).filter(|_| !ends_range) {
            from = Some(day);
            tail
        } else {
            return Err(refused());
        };
        if rest.is_empty() || rest.starts_with(' ') {
            return if from.is_none() { Ok((bits, rest.trim_start_matches(' '))) } else { Err(refused()) };
        }
    }
}

/// The weekday at the begin of `text`, and what follows it.
fn weekday(text: &str) -> Option<(u8, &str)> {
    let starts_with = |name: &str| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    (0..).zip(WEEKDAYS).find_map(|(day, name)| {
        let length = [name, &name[..3]].into_iter().find(|name| starts_with(name))?.len();
        Some((day, &text[length..]))
    })
}

/// A moment in seconds since 1970, which is in UTC.
fn timestamp(text: &str, weekdays: u8) -> Result<CalendarSpec, CalendarFault> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse::<i64>().ok().filter(|_| digits);
    let civil = seconds.and_then(|seconds| zone::Zone::utc().civil_at(seconds));
    let (date, time) = civil.ok_or_else(|| CalendarFault::Timestamp(format!("@{text}")))?;
    let spec = CalendarSpec {
        weekdays,
        from_month_end: false,
        year: Chain::one(date.year),
        month: Chain::one(date.month),
        day: Chain::one(date.day),
        hour: Chain::one(time.hour),
        minute: Chain::one(time.minute),
        second: Chain::one(time.micros),
        zone: ZoneName::Utc,
    };
    spec.check()?;
    Ok(spec)
}

/// Two digits stand for a year near ours.
const fn full_year(year: u32) -> u32 {
    match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        _ => year,
    }
}

/// Each part of a date; none where it is not given.
#[derive(Default)]
struct Date {
    year: Vec<Component>,
    month: Vec<Component>,
    day: Vec<Component>,
    from_month_end: bool,
}

/// Each part of a time.
struct Time {
    hour: Vec<Component>,
    minute: Vec<Component>,
    second: Vec<Component>,
}

/// What numbers mean.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Whole,
    /// Seconds, kept in microseconds.
    Seconds,
}

struct Cursor<'t> {
    rest: &'t str,
}

impl<'t> Cursor<'t> {
    fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Everything up to the next space.
    fn word(&self) -> String {
        self.rest.split(' ').next().unwrap_or_default().to_owned()
    }

    /// The date, or nothing when a time stands there or nothing at all.
    fn date(&mut self) -> Result<Date, CalendarFault> {
        let begin = self.rest;
        let refused = |cursor: &Self| CalendarFault::Date(cursor.word_from(begin));
        if self.rest.is_empty() {
            return Ok(Date::default());
        }
        let first = self.chain(Kind::Whole)?;
        if matches!(self.peek(), None | Some(b':')) {
            self.rest = begin;
            return Ok(Date::default());
        }
        let mut from_month_end = self.take("~");
        if !from_month_end && !self.take("-") {
            return Err(refused(self));
        }
        let second = self.chain(Kind::Whole)?;
        if matches!(self.peek(), None | Some(b' ')) {
            self.skip_spaces();
            return Ok(Date { month: first, day: second, from_month_end, ..Date::default() });
        }
        if from_month_end {
            return Err(refused(self));
        }
        from_month_end = self.take("~");
        if !from_month_end && !self.take("-") {
            return Err(refused(self));
        }
        let third = self.chain(Kind::Whole)?;
        if !matches!(self.peek(), None | Some(b' ')) {
            return Err(refused(self));
        }
        self.skip_spaces();
        Ok(Date { year: first, month: second, day: third, from_month_end })
    }

    /// The time, to the end of the text; midnight when there is none.
    fn time(&mut self) -> Result<Time, CalendarFault> {
        let zero = || vec![Component::one(0)];
        if self.rest.is_empty() {
            return Ok(Time { hour: zero(), minute: zero(), second: zero() });
        }
        let begin = self.rest.to_owned();
        let refused = || CalendarFault::Time(begin.clone());
        let hour = self.chain(Kind::Whole)?;
        if !self.take(":") {
            return Err(refused());
        }
        let minute = self.chain(Kind::Whole)?;
        if self.rest.is_empty() {
            return Ok(Time { hour, minute, second: zero() });
        }
        if !self.take(":") {
            return Err(refused());
        }
        let second = self.chain(Kind::Seconds)?;
        if self.rest.is_empty() { Ok(Time { hour, minute, second }) } else { Err(refused()) }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    /// `*`, or components between commas.
    fn chain(&mut self, kind: Kind) -> Result<Vec<Component>, CalendarFault> {
        if self.take("*") {
            return Ok(match kind {
                Kind::Whole => Vec::new(),
                Kind::Seconds => vec![Component { start: 0, stop: None, step: MICROS_PER_SEC }],
            });
        }
        let begin = self.word();
        let mut all = Vec::new();
        loop {
            all.push(self.component(kind)?);
            if all.len() > COMPONENTS_MAX {
                return Err(CalendarFault::Numbers(begin));
            }
            if !self.take(",") {
                return Ok(all);
            }
        }
    }

    fn component(&mut self, kind: Kind) -> Result<Component, CalendarFault> {
        let begin = self.word();
        let refused = || CalendarFault::Numbers(begin.clone());
        let start = self.number(kind).ok_or_else(refused)?;
        let (mut stop, mut step) = (None, 0);
        if self.take("..") {
            stop = Some(self.number(kind).ok_or_else(refused)?);
            step = if kind == Kind::Seconds { MICROS_PER_SEC } else { 1 };
        }
        let by_itself = !self.take("/");
        if by_itself {
            if kind == Kind::Seconds && stop.is_some_and(|stop| start + MICROS_PER_SEC > stop) {
                return Err(CalendarFault::ShortRange(begin));
            }
        } else {
            step = self.number(kind).ok_or_else(refused)?;
            if step == 0 {
                return Err(CalendarFault::StepOfZero(begin));
            }
        }
        match self.peek() {
            None | Some(b' ' | b',' | b'-' | b'~' | b':') => Ok(Component { start, stop, step }),
            Some(_) => Err(refused()),
        }
    }

    fn number(&mut self, kind: Kind) -> Option<u32> {
        let digits = self.digits();
        let whole: u32 = digits.parse().ok()?;
        if kind == Kind::Whole {
            return i32::try_from(whole).is_ok().then_some(whole);
        }
        let mut micros = whole.checked_mul(MICROS_PER_SEC)?;
        // One point is a decimal point, two are a range.
        if self.rest.starts_with('.') && !self.rest.starts_with("..") {
            self.rest = &self.rest[1..];
            micros = micros.checked_add(fraction(self.digits())?)?;
        }
        i32::try_from(micros).is_ok().then_some(micros)
    }

    fn digits(&mut self) -> &'t str {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    /// Everything from `begin` to the end of the word at hand.
    fn word_from(&self, begin: &str) -> String {
        let read = begin.len() - self.rest.len();
        let end = self.rest.find(' ').map_or(begin.len(), |end| read + end);
        begin[..end].to_owned()
    }
}

/// Microseconds of the digits after a point, rounded to the nearest.
fn fraction(digits: &str) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    let value = |place: u32| digits.as_bytes().get(place as usize).map_or(0, |digit| u32::from(digit - b'0'));
    let micros = (0..FRACTION_DIGITS).fold(0, |micros, place| micros * 10 + value(place));
    Some(micros + u32::from(value(FRACTION_DIGITS) >= 5))
}

impl CalendarSpec {
    /// Whether every value is one that its part can have.
    fn check(&self) -> Result<(), CalendarFault> {
        // No month is shorter than 28 days.
        let last_day = if self.from_month_end { 28 } else { 31 };
        let day = Part { what: "the day", least: 1, most: last_day, scale: 1, backwards: self.from_month_end };
        Part::new("the year", YEAR_MIN, YEAR_MAX).check(&self.year)?;
        Part::new("the month", 1, 12).check(&self.month)?;
        day.check(&self.day)?;
        Part::new("the hour", 0, 23).check(&self.hour)?;
        Part::new("the minute", 0, 59).check(&self.minute)?;
        let second = Part::new("the second", 0, 60 * MICROS_PER_SEC - 1);
        Part { scale: MICROS_PER_SEC, ..second }.check(&self.second)
    }
}

/// What one part of a date or time may be.
struct Part {
    what: &'static str,
    least: u32,
    most: u32,
    /// In how many parts its values are kept.
    scale: u32,
    /// Whether a step leads to smaller values.
    backwards: bool,
}

impl Part {
    const fn new(what: &'static str, least: u32, most: u32) -> Self {
        Self { what, least, most, scale: 1, backwards: false }
    }

    fn check(&self, chain: &Chain) -> Result<(), CalendarFault> {
        let Some(wrong) = chain.0.iter().find(|component| !self.fits(**component)) else { return Ok(()) };
        let value = super::print::component(*wrong, 1, self.scale);
        Err(CalendarFault::Outside { part: self.what, value, least: self.least, most: self.most / self.scale })
    }

    /// Whether the first value, the end of a range and the first step lie within.
    fn fits(&self, component: Component) -> bool {
        let Component { start, stop, step } = component;
        let within = |value: u32| (self.least..=self.most).contains(&value);
        let next = if self.backwards && stop.is_none() { start.checked_sub(step) } else { start.checked_add(step) };
        within(start) && next.is_some_and(|next| within(next) && stop.is_none_or(|stop| within(stop) && next <= stop))
    }
}

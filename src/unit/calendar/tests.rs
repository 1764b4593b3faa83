use jiff::{Timestamp, civil, tz::TimeZone};
use proptest::prelude::*;

use super::*;
use crate::base::Wall;

/// A moment in UTC, or a civil time in the zone that stands behind it in brackets.
fn at(text: &str) -> Wall {
    let moment = match text.contains('[') {
        true => text.parse::<jiff::Zoned>().unwrap().timestamp(),
        false => text.parse::<Timestamp>().unwrap(),
    };
    Wall(moment.as_microsecond())
}

fn zones(local: &str) -> Zones {
    let zone = |name: &str| Zone::new(TimeZone::get(name).unwrap());
    let named = ["Europe/Berlin", "Asia/Kathmandu"].map(|name| (name.into(), zone(name)));
    Zones { local: zone(local), named: named.into() }
}

#[track_caller]
fn elapses(text: &str, local: &str, after: &str, expected: &[&str]) {
    let spec: CalendarSpec = text.parse().unwrap();
    let zones = zones(local);
    let mut last = at(after);
    for moment in expected {
        let next = spec.next(last, &zones);
        assert_eq!(next, Some(at(moment)), "{text}: {:?}", next.map(|next| Timestamp::from_microsecond(next.0)));
        last = at(moment);
    }
}

#[test]
fn the_examples_of_the_manual_have_its_normal_forms() {
    // systemd.time(7), "Examples for valid timestamps and their normalized form".
    for (text, normal) in [
        ("Sat,Thu,Mon..Wed,Sat..Sun", "Mon..Thu,Sat,Sun *-*-* 00:00:00"),
        ("Mon,Sun 12-*-* 2,1:23", "Mon,Sun 2012-*-* 01,02:23:00"),
        ("Wed *-1", "Wed *-*-01 00:00:00"),
        ("Wed..Wed,Wed *-1", "Wed *-*-01 00:00:00"),
        ("Wed, 17:48", "Wed *-*-* 17:48:00"),
        ("Wed..Sat,Tue 12-10-15 1:2:3", "Tue..Sat 2012-10-15 01:02:03"),
        ("*-*-7 0:0:0", "*-*-07 00:00:00"),
        ("10-15", "*-10-15 00:00:00"),
        ("monday *-12-* 17:00", "Mon *-12-* 17:00:00"),
        ("Mon,Fri *-*-3,1,2 *:30:45", "Mon,Fri *-*-01,02,03 *:30:45"),
        ("12,14,13,12:20,10,30", "*-*-* 12,13,14:10,20,30:00"),
        ("12..14:10,20,30", "*-*-* 12..14:10,20,30:00"),
        ("mon,fri *-1/2-1,3 *:30:45", "Mon,Fri *-01/2-01,03 *:30:45"),
        ("03-05 08:05:40", "*-03-05 08:05:40"),
        ("08:05:40", "*-*-* 08:05:40"),
        ("05:40", "*-*-* 05:40:00"),
        ("Sat,Sun 12-05 08:05:40", "Sat,Sun *-12-05 08:05:40"),
        ("Sat,Sun 08:05:40", "Sat,Sun *-*-* 08:05:40"),
        ("2003-03-05 05:40", "2003-03-05 05:40:00"),
        ("05:40:23.4200004/3.1700005", "*-*-* 05:40:23.420000/3.170001"),
        ("2003-02..04-05", "2003-02..04-05 00:00:00"),
        ("2003-03-05 05:40 UTC", "2003-03-05 05:40:00 UTC"),
        ("2003-03-05", "2003-03-05 00:00:00"),
        ("03-05", "*-03-05 00:00:00"),
        ("hourly", "*-*-* *:00:00"),
        ("daily UTC", "*-*-* 00:00:00 UTC"),
        ("weekly Pacific/Auckland", "Mon *-*-* 00:00:00 Pacific/Auckland"),
        ("quarterly", "*-01,04,07,10-01 00:00:00"),
        ("*:2/3", "*-*-* *:02/3:00"),
    ] {
        assert_eq!(text.parse::<CalendarSpec>().map(|spec| spec.to_string()).as_deref(), Ok(normal), "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_with_a_remedy() {
    for (text, said, help) in [
        ("", "\"\" is no calendar event: it is empty", "write for example \"daily\""),
        ("Mon..Fri", "", ""),
        ("Fri..Mon 1:00", "cannot read \"Fri..Mon\" as weekdays", "\"Mon..Fri\""),
        ("Mo 1:00", "cannot read \"Mo\" as weekdays", "\"Mon..Fri\""),
        ("fortnightly", "cannot read \"fortnightly\" as weekdays", "\"daily\""),
        ("1+2:00", "cannot read \"1+2:00\" as numbers", "\"1..30/2\""),
        ("25:00", "\"25\" does not fit into the hour, which goes from 0 to 23", "end within it"),
        ("*:*:61", "\"61\" does not fit into the second, which goes from 0 to 59", "end within it"),
        ("*-13-01", "\"13\" does not fit into the month, which goes from 1 to 12", "end within it"),
        ("*-*~29", "\"29\" does not fit into the day, which goes from 1 to 28", "end within it"),
        ("9..5:00", "\"9..5\" does not fit into the hour", "end within it"),
        ("*:0/0", "the step of \"0/0\" is zero", "leave the step out"),
        ("12", "cannot read \"12\" as a time", "\"02:30\""),
        ("2026-12-24-1", "cannot read \"2026-12-24-1\" as a date", "\"2026-12-24\""),
        ("*:*:1..1.5", "the range of \"1..1.5\" is shorter", "step"),
        ("@soon", "cannot read \"@soon\" as seconds since 1970", "UTC"),
    ] {
        match text.parse::<CalendarSpec>() {
            Ok(spec) => assert_eq!(said, "", "{text} is {spec}"),
            Err(error) => {
                assert!(error.to_string().contains(said) && !said.is_empty(), "{error}");
                assert!(error.help().contains(help), "{text}: {}", error.help());
            }
        }
    }
}

#[test]
fn a_time_that_the_clock_skips_does_not_happen() {
    let day = ["2026-03-28T02:30[Europe/Berlin]", "2026-03-30T02:30[Europe/Berlin]"];
    elapses("02:30", "Europe/Berlin", "2026-03-27T12:00[Europe/Berlin]", &day);
    let hours = ["2026-03-29T00:45Z", "2026-03-29T01:15Z", "2026-03-29T01:45Z"];
    elapses("*:15,45", "Europe/Berlin", "2026-03-29T00:30Z", &hours);
    // Half an hour is skipped: 02:00 to 02:30.
    let lord_howe = ["2026-10-04T02:40[Australia/Lord_Howe]", "2026-10-05T02:10[Australia/Lord_Howe]"];
    elapses("02:10,40", "Australia/Lord_Howe", "2026-10-03T12:00Z", &lord_howe);
    // A whole day is: Samoa went over the date line.
    elapses("2011-12-30,31 12:00", "Pacific/Apia", "2011-12-29T00:00Z", &["2011-12-31T12:00[Pacific/Apia]"]);
}

#[test]
fn a_time_that_is_shown_twice_happens_once() {
    let nights = ["2026-10-25T00:30Z", "2026-10-26T01:30Z"];
    elapses("02:30", "Europe/Berlin", "2026-10-24T12:00Z", &nights);
    elapses("02:30 Europe/Berlin", "UTC", "2026-10-24T12:00Z", &nights);
    let minutes = ["2026-10-25T00:20Z", "2026-10-25T00:40Z", "2026-10-25T02:00Z"];
    elapses("*:0/20", "Europe/Berlin", "2026-10-25T00:10Z", &minutes);
    // Whoever begins in the second pass has that one.
    elapses("*:0/20", "Europe/Berlin", "2026-10-25T01:10Z", &["2026-10-25T01:20Z"]);
}

#[test]
fn what_lies_behind_is_over() {
    for text in ["2020-01-01", "@0", "*-02-30", "2199-12-31 23:59:59"] {
        let spec: CalendarSpec = text.parse().unwrap();
        assert_eq!(spec.next(at("2199-12-31T23:59:59Z"), &Zones::default()), None, "{text}");
    }
    let nowhere: CalendarSpec = "daily Nowhere/Land".parse().unwrap();
    assert_eq!(nowhere.next(at("2026-01-01T00:00Z"), &Zones::default()), None, "nobody looked its zone up");
}

#[test]
fn cron_lines_are_read_as_crontab_has_them() {
    for (text, after, expected) in [
        ("*/5 9-17 * * mon-fri", "2026-11-27T17:52Z", ["2026-11-27T17:55Z", "2026-11-30T09:00Z"]),
        ("0 0 13 * fri", "2026-11-01T00:00Z", ["2026-11-06T00:00Z", "2026-11-13T00:00Z"]),
        ("0 0 */2 * fri", "2026-11-14T00:00Z", ["2026-11-27T00:00Z", "2026-12-11T00:00Z"]),
        ("30 4 1,15 * *", "2026-11-01T05:00Z", ["2026-11-15T04:30Z", "2026-12-01T04:30Z"]),
        ("5 0 * Aug-Sep 7", "2026-11-01T05:00Z", ["2027-08-01T00:05Z", "2027-08-08T00:05Z"]),
        ("23 0-23/7 * * *", "2026-11-01T14:23Z", ["2026-11-01T21:23Z", "2026-11-02T00:23Z"]),
        ("@weekly", "2026-11-29T00:00Z", ["2026-12-06T00:00Z", "2026-12-13T00:00Z"]),
        ("@midnight", "2026-11-29T00:00Z", ["2026-11-30T00:00Z", "2026-12-01T00:00Z"]),
        ("0 0 29 2 *", "2026-11-29T00:00Z", ["2028-02-29T00:00Z", "2032-02-29T00:00Z"]),
    ] {
        let cron: Cron = text.parse().unwrap();
        let mut last = at(after);
        for moment in expected {
            last = cron.next(last, &Zones::default()).unwrap();
            assert_eq!(last, at(moment), "{text}");
        }
        assert_eq!(cron.to_string(), text);
    }
}

#[test]
fn a_faulty_cron_line_names_its_part_and_a_remedy() {
    for (text, said, help) in [
        ("* * * *", "it has 4 fields, not 5", "without a command"),
        ("* * * * * /bin/x", "it has 6 fields, not 5", "without a command"),
        ("60 * * * *", "\"60\" is no minute from 0 to 59", "lists"),
        ("* 7-3 * * *", "\"7-3\" in the hour runs backwards", "smaller value first"),
        ("5/15 * * * *", "\"5/15\" has a step but no range", "0-59/15"),
        ("*/0 * * * *", "\"0\" is no step in the minute", "from 1 on"),
        ("* * * foo *", "\"foo\" is no month from 1 to 12", "three letters"),
        ("* * 0 * *", "\"0\" is no day of month from 1 to 31", ""),
        ("@reboot", "\"@reboot\" is no time", "on_startup_sec"),
        ("@fortnightly", "there is no \"@fortnightly\"", "@daily"),
        ("1,, * * * *", "\"\" is no minute", ""),
    ] {
        let error = text.parse::<Cron>().unwrap_err();
        assert!(error.to_string().contains(said) && error.help.contains(help), "{error}; {}", error.help);
    }
}

/// Whether the civil time fits, asked part by part.
fn fits(spec: &CalendarSpec, civil: civil::DateTime) -> bool {
    let has = |chain: &Chain, value: u32| {
        chain.is_any()
            || chain.0.iter().any(|one| match (one.stop, one.step) {
                (None, 0) => value == one.start,
                (stop, step) => {
                    value >= one.start
                        && stop.is_none_or(|stop| value <= stop)
                        && (value - one.start).is_multiple_of(step)
                }
            })
    };
    let number = |part: i8| u32::try_from(part).unwrap();
    let days = number(civil.days_in_month());
    let day = number(civil.day());
    let from_end = |one: &component::Component| {
        let turned = |day: u32| days + 1 - day;
        match (one.stop, one.step) {
            (None, 0) => day == turned(one.start),
            (None, step) => day >= turned(one.start) && (day - turned(one.start)).is_multiple_of(step),
            (Some(stop), step) => {
                (turned(stop)..=turned(one.start)).contains(&day) && (day - turned(stop)).is_multiple_of(step)
            }
        }
    };
    let day_fits = match spec.from_month_end {
        true => spec.day.0.iter().any(from_end),
        false => has(&spec.day, day),
    };
    let micros = number(civil.second()) * MICROS_PER_SEC + u32::try_from(civil.subsec_nanosecond()).unwrap() / 1000;
    spec.weekdays & (1 << civil.weekday().to_monday_zero_offset()) != 0
        && has(&spec.year, u32::try_from(civil.year()).unwrap())
        && has(&spec.month, number(civil.month()))
        && day_fits
        && has(&spec.hour, number(civil.hour()))
        && has(&spec.minute, number(civil.minute()))
        && has(&spec.second, micros)
}

fn chain(least: u32, most: u32) -> impl Strategy<Value = String> {
    let one = (least..=most, 0..=most, 0..8_u32).prop_map(move |(start, length, step)| {
        let stop = (start + length).min(most);
        match (stop > start, step) {
            (_, 0 | 1) => format!("{start}"),
            (true, 2 | 3) => format!("{start}..{stop}"),
            (true, step) => format!("{start}..{stop}/{}", step.min(stop - start)),
            (false, step) if start + step <= most => format!("{start}/{step}"),
            (false, _) => format!("{start}"),
        }
    });
    prop_oneof![2 => Just("*".to_owned()), 3 => proptest::collection::vec(one, 1..4).prop_map(|all| all.join(","))]
}

fn event() -> impl Strategy<Value = String> {
    let days = prop_oneof![
        Just(String::new()),
        Just("Mon..Fri ".to_owned()),
        Just("Sat,Sun ".to_owned()),
        Just("Wed ".to_owned())
    ];
    let date = prop_oneof![
        (chain(1, 12), chain(1, 31)).prop_map(|(month, day)| format!("*-{month}-{day} ")),
        (chain(1, 12), 1..=28_u32).prop_map(|(month, day)| format!("*-{month}~{day} ")),
        Just("*-*~1..7 ".to_owned()),
        Just("*-*~9/2 ".to_owned()),
    ];
    (days, date, chain(0, 23), chain(0, 59), chain(0, 59))
        .prop_map(|(days, date, hour, minute, second)| format!("{days}{date}{hour}:{minute}:{second}"))
}

proptest! {
    #[test]
    fn no_text_panics_and_a_normal_form_is_its_own(text in "\\PC{0,40}|[0-9a-zA-Z*./,:~ @-]{0,40}") {
        if let Ok(spec) = text.parse::<CalendarSpec>() {
            let normal = spec.to_string();
            prop_assert_eq!(normal.parse::<CalendarSpec>().map(|again| again.to_string()), Ok(normal));
        }
        drop(text.parse::<Cron>());
    }

    #[test]
    fn the_next_moment_fits_and_nothing_before_it_does(
        text in event(),
        seconds in 1_600_000_000..2_200_000_000_i64,
        samples in proptest::collection::vec(0.0..1.0_f64, 64),
    ) {
        let spec: CalendarSpec = text.parse().unwrap();
        prop_assert_eq!(&spec.to_string().parse::<CalendarSpec>().unwrap(), &spec);
        let after = Wall(seconds * 1_000_000);
        let civil = |at: i64| TimeZone::UTC.to_datetime(Timestamp::from_microsecond(at).unwrap());
        let Some(next) = spec.next(after, &Zones::default()) else {
            // Only a 30th or 31st that its months do not have.
            prop_assert!(text.contains("30") || text.contains("31"), "{} never comes", text);
            return Ok(());
        };
        prop_assert!(next > after && fits(&spec, civil(next.0)));
        let gap = (next.0 - after.0) / 1_000_000;
        for sample in samples {
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "any second between")]
            let at = after.0 + 1_000_000 + ((gap as f64 * sample) as i64) * 1_000_000;
            prop_assert!(at >= next.0 || !fits(&spec, civil(at)), "{} passed {}", text, civil(at));
        }
    }

    #[test]
    fn in_every_zone_moments_go_forward(
        text in event(),
        zone in prop_oneof![
            Just("Europe/Berlin"), Just("America/Santiago"), Just("Australia/Lord_Howe"), Just("Africa/Cairo")
        ],
        seconds in 1_600_000_000..2_000_000_000_i64,
    ) {
        let spec: CalendarSpec = text.parse().unwrap();
        let zones = zones(zone);
        let mut at = Wall(seconds * 1_000_000);
        for _ in 0..20 {
            let Some(next) = spec.next(at, &zones) else { break };
            prop_assert!(next > at);
            let civil = TimeZone::get(zone).unwrap().to_datetime(Timestamp::from_microsecond(next.0).unwrap());
            prop_assert!(fits(&spec, civil), "{} at {}", text, civil);
            at = next;
        }
    }
}

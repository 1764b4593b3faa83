//! From a table of verdicts to a filter: a search over ranges of call numbers, then the rules of the one that was found.

use std::collections::BTreeMap;

use super::calls::Machine;
use crate::base::confinement::Instruction;

/// What becomes of a call. The order is the kernel's: of several, the lowest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// The process is killed.
    Kill,
    /// It comes back with this error.
    Errno(u16),
    /// It is made, and written to the kernel's log.
    Log,
    /// It is made.
    Allow,
}

/// One look at an argument: the lower half of it, masked, equals the value, or does not. Arguments that are looked at are
/// ints, or flags of the lower half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub argument: u8,
    pub mask: u32,
    pub value: u32,
    pub equal: bool,
}

/// A call comes back with an error when all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub conditions: Vec<Condition>,
    pub errno: u16,
}

/// What becomes of one call: the error of the first rule that holds, else the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fate {
    pub rules: Vec<Rule>,
    pub verdict: Verdict,
}

/// What becomes of each call, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub calls: BTreeMap<u32, Fate>,
    /// Of all others.
    pub others: Verdict,
}

/// The filter of a table. Calls of another machine's numbers are not in the table: whoever makes one is killed.
pub(super) fn compile(table: &Table, machine: Machine) -> Vec<Instruction> {
    let mut code = vec![
        statement(LOAD, DATA_MACHINE),
        jump(IF_EQUAL, machine.audit_number(), 1, 0),
        statement(RETURN, answer(Verdict::Kill)),
        statement(LOAD, DATA_NUMBER),
    ];
    if machine == Machine::X86_64 {
        code.extend([jump(IF_AT_LEAST, X32_BIT, 0, 1), statement(RETURN, answer(Verdict::Kill))]);
    }
    code.extend(search(&ranges(table)));
    code
}

/// Where a range begins, and the fate of its calls.
type Range = (u32, Fate);

fn ranges(table: &Table) -> Vec<Range> {
    let others = Fate { rules: Vec::new(), verdict: table.others };
    let mut ranges: Vec<Range> = vec![(0, others.clone())];
    let mut push = |start, fate: &Fate| match ranges.last_mut() {
        Some((_, last)) if last == fate => {}
        Some((begin, last)) if *begin == start => *last = fate.clone(),
        Some(_) | None => ranges.push((start, fate.clone())),
    };
    for (number, fate) in &table.calls {
        push(*number, fate);
        if !table.calls.contains_key(&(number + 1)) {
            push(number + 1, &others);
        }
    }
    ranges
}

/// Finds the range that the number in the accumulator lies in.
fn search(ranges: &[Range]) -> Vec<Instruction> {
    if let [(_, fate)] = ranges {
        return decide(fate);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let Some((middle, _)) = high.first() else { return Vec::new() };
    let low = search(low);
    // A conditional jump reaches 255 instructions far, this one any number.
    let far = u32::try_from(low.len()).unwrap_or(u32::MAX);
    let mut code = vec![jump(IF_AT_LEAST, *middle, 0, 1), statement(GO, far)];
    code.extend(low);
    code.extend(search(high));
    code
}

fn decide(fate: &Fate) -> Vec<Instruction> {
    let mut code = Vec::new();
    for rule in &fate.rules {
        code.extend(refuse(rule));
    }
    code.push(statement(RETURN, answer(fate.verdict)));
    code
}

fn refuse(rule: &Rule) -> Vec<Instruction> {
    let mut code = vec![statement(RETURN, answer(Verdict::Errno(rule.errno)))];
    // From the last condition to the first, so that each knows how far it is to the end.
    for condition in rule.conditions.iter().rev() {
        // Rules are short: every list that people can write for one is of address families, of which there are 46.
        let to_end = u8::try_from(code.len()).unwrap_or(u8::MAX);
        let (jump_true, jump_false) = if condition.equal { (0, to_end) } else { (to_end, 0) };
        let mut look = vec![statement(LOAD, DATA_ARGUMENTS + 8 * u32::from(condition.argument))];
        if condition.mask != u32::MAX {
            look.push(statement(AND, condition.mask));
        }
        look.push(jump(IF_EQUAL, condition.value, jump_true, jump_false));
        code.splice(0..0, look);
    }
    code
}

/// What a filter returns, seccomp(2).
const fn answer(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Kill => 0x8000_0000,
        Verdict::Errno(errno) => 0x0005_0000 | errno as u32,
        Verdict::Log => 0x7ffc_0000,
        Verdict::Allow => 0x7fff_0000,
    }
}

const fn statement(code: u16, operand: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, operand }
}

const fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

/// Classic BPF, linux/filter.h: a word of the data into the accumulator, a mask over it, jumps, the end.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const GO: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
/// Offsets in the kernel's seccomp_data; the lower half of an argument comes first on the machines we build for.
const DATA_NUMBER: u32 = 0;
const DATA_MACHINE: u32 = 4;
const DATA_ARGUMENTS: u32 = 16;
/// Numbers of the x32 interface, which share the machine's number.
const X32_BIT: u32 = 0x4000_0000;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::confinement::INSTRUCTIONS_MAX;

    /// What the kernel would do, as linux/filter.h and seccomp(2) have it.
    pub(in super::super) fn run(code: &[Instruction], machine: Machine, number: u32, arguments: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            DATA_NUMBER => number,
            DATA_MACHINE => machine.audit_number(),
            _ => {
                let at = (offset - DATA_ARGUMENTS) as usize;
                let argument = arguments[at / 8];
                half(if at.is_multiple_of(8) { argument } else { argument >> 32 })
            }
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let Instruction { code, jump_true, jump_false, operand } = code[at];
            at += 1;
            let conditional = |holds| usize::from(if holds { jump_true } else { jump_false });
            match code {
                LOAD => accumulator = word(operand),
                AND => accumulator &= operand,
                GO => at += operand as usize,
                IF_EQUAL => at += conditional(accumulator == operand),
                IF_AT_LEAST => at += conditional(accumulator >= operand),
                RETURN => return operand,
                other => panic!("{other:#x}"),
            }
        }
    }

    /// The lower half.
    fn half(argument: u64) -> u32 {
        u32::try_from(argument & u64::from(u32::MAX)).unwrap()
    }

    fn wanted(table: &Table, number: u32, arguments: [u64; 6]) -> u32 {
        let Some(fate) = table.calls.get(&number) else { return answer(table.others) };
        let holds = |condition: &Condition| {
            let argument = half(arguments[usize::from(condition.argument)]);
            (argument & condition.mask == condition.value) == condition.equal
        };
        let rule = fate.rules.iter().find(|rule| rule.conditions.iter().all(holds));
        answer(rule.map_or(fate.verdict, |rule| Verdict::Errno(rule.errno)))
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            Just(Verdict::Allow),
            Just(Verdict::Kill),
            Just(Verdict::Log),
            (0_u16..4096).prop_map(Verdict::Errno)
        ]
    }

    fn table() -> impl Strategy<Value = Table> {
        let mask = prop_oneof![Just(u32::MAX), Just(6), Just(4)];
        let condition = (0_u8..6, mask, 0_u32..8, any::<bool>()).prop_map(|(argument, mask, value, equal)| Condition {
            argument,
            mask,
            value: value & mask,
            equal,
        });
        let rule = (proptest::collection::vec(condition, 0..4), 0_u16..4096)
            .prop_map(|(conditions, errno)| Rule { conditions, errno });
        let fate =
            (proptest::collection::vec(rule, 0..3), verdict()).prop_map(|(rules, verdict)| Fate { rules, verdict });
        (proptest::collection::btree_map(0_u32..470, fate, 0..300), verdict())
            .prop_map(|(calls, others)| Table { calls, others })
    }

    proptest! {
        // Each case asks for all calls of both machines.
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_filter_says_what_its_table_says(
            table in table(),
            arguments in proptest::array::uniform6(prop_oneof![0_u64..9, (0_u64..9).prop_map(|low| low | 1 << 32)]),
        ) {
            for machine in [Machine::X86_64, Machine::Aarch64] {
                let code = compile(&table, machine);
                prop_assert!(code.len() <= INSTRUCTIONS_MAX);
                for number in 0..480 {
                    let said = run(&code, machine, number, arguments);
                    prop_assert_eq!(said, wanted(&table, number, arguments), "call {}", number);
                }
            }
        }
    }

    #[test]
    fn another_machines_calls_are_deadly() {
        let table = Table { calls: BTreeMap::new(), others: Verdict::Allow };
        let code = compile(&table, Machine::X86_64);
        assert_eq!(run(&code, Machine::X86_64, 1, [0; 6]), answer(Verdict::Allow));
        assert_eq!(run(&code, Machine::Aarch64, 1, [0; 6]), answer(Verdict::Kill));
        assert_eq!(run(&code, Machine::X86_64, X32_BIT | 1, [0; 6]), answer(Verdict::Kill), "x32");
    }

    #[test]
    fn the_longest_list_of_address_families_is_in_reach_of_its_jumps() {
        let conditions: Vec<_> =
            (0..46).map(|family| Condition { argument: 0, mask: u32::MAX, value: family, equal: false }).collect();
        let fate = Fate { rules: vec![Rule { conditions, errno: 97 }], verdict: Verdict::Allow };
        let table = Table { calls: BTreeMap::from([(41, fate)]), others: Verdict::Allow };
        let code = compile(&table, Machine::X86_64);
        assert_eq!(run(&code, Machine::X86_64, 41, [0; 6]), answer(Verdict::Allow));
        assert_eq!(run(&code, Machine::X86_64, 41, [46, 0, 0, 0, 0, 0]), answer(Verdict::Errno(97)));
    }
}

//! Millions of inputs made up by the rules and by chance, for the same
//! functions that the fuzz targets run.

mod entries;

use std::fs;
use std::path::Path;

use crate::entries::FRAGMENTS;

/// Inputs of each of the three functions: two million in all.
const N_INPUTS: u64 = 700_000;

/// Marsaglia's xorshift: the same inputs in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Up to `n` fragments, some of them damaged.
fn text(random: &mut Random, n: usize, input: &mut Vec<u8>) {
    for _ in 0..random.below(n + 1) {
        let start = input.len();
        input.extend_from_slice(FRAGMENTS[random.below(FRAGMENTS.len())].as_bytes());
        let length = input.len() - start;
        match random.below(12) {
            0 => input.truncate(start + random.below(length)),
            1 => input[start + random.below(length)] = random.next() as u8,
            2 => drop(input.remove(start + random.below(length))),
            _ => {}
        }
    }
}

fn noise(random: &mut Random, n: usize, input: &mut Vec<u8>) {
    for _ in 0..n {
        input.push(random.next() as u8);
    }
}

#[test]
fn messages_cut_anywhere_break_no_invariant() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut input = Vec::new();
    for _ in 0..N_INPUTS {
        input.clear();
        text(&mut random, 4, &mut input);
        input.push(0xff);
        text(&mut random, 6, &mut input);
        noise(&mut random, 32, &mut input);
        entries::http1(&input);
    }
}

#[test]
fn streams_cut_anywhere_have_the_same_rhythm() {
    let mut random = Random(0xd1b5_4a32_d192_ed03);
    let mut input = Vec::new();
    for _ in 0..N_INPUTS {
        input.clear();
        input.push(random.next() as u8);
        let start = input.len();
        text(&mut random, 5, &mut input);
        if random.below(4) == 0 && input.len() > start {
            let at = start + random.below(input.len() - start);
            input[at] = b"\r\n:{}[]\",d"[random.below(10)];
        }
        noise(&mut random, 16, &mut input);
        entries::sse(&input);
    }
}

#[test]
fn any_operations_on_a_table_break_no_invariant() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut input = Vec::new();
    for _ in 0..N_INPUTS {
        input.clear();
        let length = random.below(200);
        noise(&mut random, length, &mut input);
        entries::table(&input);
    }
}

/// What fuzzing found worth keeping, and what it once broke.
#[test]
fn corpora_break_no_invariant() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in ["http1", "sse", "table"] {
        let entry = match target {
            "http1" => entries::http1,
            "sse" => entries::sse,
            _ => entries::table,
        };
        let folder = corpora.join(target);
        let files = fs::read_dir(&folder).expect("the corpus is committed");
        let mut n_inputs = 0;
        for file in files {
            let path = file.expect("a file of the corpus").path();
            entry(&fs::read(&path).expect("a file of the corpus"));
            n_inputs += 1;
        }
        assert!(n_inputs > 0, "{}", folder.display());
    }
}

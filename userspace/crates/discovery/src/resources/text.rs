//! What the kernel's files say. They are written by the kernel, yet nothing
//! in them is taken for granted: what cannot be read is `None`.

use modeltap_core::resource::{BlockReading, NetworkReading};

/// Limits from here on are none: v1 writes the largest number of whole pages.
const NO_LIMIT_FROM: u64 = 1 << 60;

/// A file that is one number.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A limit in bytes or tasks; `None` for `max` and for v1's largest number.
pub(super) fn limit(text: &str) -> Option<u64> {
    number(text).filter(|&limit| limit < NO_LIMIT_FROM)
}

/// The number behind `name` at the beginning of a line.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .and_then(number)
}

/// Cores of a v1 quota; `-1` is none.
pub(super) fn v1_quota(quota: &str, period: &str) -> Option<f64> {
    cores(number(quota)?, number(period)?)
}

/// Cores of `cpu.max`: `20000 100000`, or `max 100000`.
pub(super) fn v2_quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    cores(number(quota)?, number(period)?)
}

fn cores(quota: u64, period: u64) -> Option<f64> {
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// Usage without inactive page cache, as `docker stats` has it: `inactive`
/// holds candidates in its order, and the first below usage counts.
pub(super) fn working_set(usage: u64, inactive: [Option<u64>; 2]) -> u64 {
    let first = inactive.into_iter().flatten().find(|&bytes| bytes < usage);
    usage - first.unwrap_or(0)
}

/// `blkio.throttle.io_service_bytes_recursive`: `8:0 Read 4096` by device;
/// nothing where no device is named.
pub(super) fn v1_block(text: &str) -> Option<BlockReading> {
    let mut sum = BlockReading::default();
    let of_devices = text.lines().filter(|line| line.contains(':'));
    of_devices.clone().next()?;
    for line in of_devices {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(kind), Some(bytes)) = (fields.next(), fields.next().and_then(number)) else {
            continue;
        };
        match kind {
            "Read" => add(&mut sum.read_bytes, bytes),
            "Write" => add(&mut sum.written_bytes, bytes),
            _ => {}
        }
    }
    Some(sum)
}

/// `io.stat`: `8:0 rbytes=4096 wbytes=0 ...` by device.
pub(super) fn v2_block(text: &str) -> BlockReading {
    let mut sum = BlockReading::default();
    for field in text.split_ascii_whitespace() {
        if let Some(bytes) = field.strip_prefix("rbytes=").and_then(number) {
            add(&mut sum.read_bytes, bytes);
        } else if let Some(bytes) = field.strip_prefix("wbytes=").and_then(number) {
            add(&mut sum.written_bytes, bytes);
        }
    }
    sum
}

/// `/proc/PID/net/dev`: eight figures received and eight sent by interface,
/// of which bytes, broken and dropped packets are the first, third and fourth.
pub(super) fn network(text: &str) -> NetworkReading {
    let mut sum = NetworkReading::default();
    for line in text.lines() {
        let Some((name, figures)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        let mut all = [0_u64; 12];
        let mut n_read = 0;
        for (figure, text) in all.iter_mut().zip(figures.split_ascii_whitespace()) {
            let Some(read) = number(text) else { break };
            *figure = read;
            n_read += 1;
        }
        if n_read < all.len() {
            continue;
        }
        add(&mut sum.received_bytes, all[0]);
        add(&mut sum.sent_bytes, all[8]);
        for at in [2, 3, 10, 11] {
            add(&mut sum.n_errors, all[at]);
        }
    }
    sum
}

/// The time that some task waited, in microseconds: `some ... total=123`.
pub(super) fn pressure(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = some
        .split(' ')
        .find_map(|field| field.strip_prefix("total="));
    number(total?)
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_both_versions_know_none() {
        assert_eq!(limit("67108864\n"), Some(64 << 20));
        for none in ["max\n", "9223372036854771712\n", "", "-1\n", "12 MB"] {
            assert_eq!(limit(none), None, "{none:?}");
        }
        assert_eq!(v1_quota("20000\n", "100000\n"), Some(0.2));
        assert_eq!(v2_quota("150000 100000\n"), Some(1.5));
        for (quota, period) in [("-1", "100000"), ("20000", "0"), ("0", "100000"), ("x", "")] {
            assert_eq!(v1_quota(quota, period), None, "{quota} {period}");
        }
        for none in ["max 100000\n", "", "100000", "1 0", "a b c"] {
            assert_eq!(v2_quota(none), None, "{none:?}");
        }
    }

    #[test]
    fn field_is_found_by_its_whole_name() {
        let stat = "inactive_file 5\ntotal_inactive_file 7\nnr_periods x\nlast";
        assert_eq!(field(stat, "total_inactive_file"), Some(7));
        assert_eq!(field(stat, "inactive_file"), Some(5));
        assert_eq!(field(stat, "inactive"), None);
        assert_eq!(field(stat, "nr_periods"), None);
        assert_eq!(field(stat, "last"), None);
    }

    #[test]
    fn working_set_is_that_of_docker_stats() {
        assert_eq!(working_set(100, [Some(30), Some(10)]), 70);
        assert_eq!(working_set(100, [None, Some(10)]), 90);
        // The cache is charged a moment after the usage: Docker takes the next.
        assert_eq!(working_set(100, [Some(100), Some(40)]), 60);
        assert_eq!(working_set(100, [Some(200), Some(200)]), 100);
        assert_eq!(working_set(0, [Some(0), None]), 0);
    }

    #[test]
    fn block_figures_are_summed_over_devices() {
        let v1 = "8:0 Read 4096\n8:0 Write 10\n8:0 Sync 1\n8:16 Read 4\n8:16 Total 9\nTotal 4110\n";
        let expected = BlockReading {
            read_bytes: 4_100,
            written_bytes: 10,
        };
        assert_eq!(v1_block(v1), Some(expected));
        assert_eq!(v1_block("Total 0\n"), None);
        let v2 = "8:0 rbytes=4096 wbytes=10 rios=1 wios=2 dbytes=3 dios=4\n8:16 rbytes=4 wbytes=\n";
        assert_eq!(v2_block(v2), expected);
        let huge = format!("8:0 rbytes={0} wbytes=1\n8:1 rbytes={0}", u64::MAX);
        assert_eq!(v2_block(&huge).read_bytes, u64::MAX);
        for broken in ["", "\n\n", "8:0 Read", "8:0 rbytes=-1 wbytes=x", "\u{fffd}"] {
            let nothing = v1_block(broken).unwrap_or_default();
            assert_eq!(nothing, BlockReading::default(), "{broken:?}");
            assert_eq!(v2_block(broken), BlockReading::default(), "{broken:?}");
        }
    }

    #[test]
    fn network_leaves_loopback_out_and_counts_every_interface() {
        let table = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     900       2    9    9    0     0          0         0      900       0    9    9    0     0       0          0
  eth0:     200       2    1    2    0     0          0         0       50       1    3    4    0     0       0          0
  eth1:1000       2    0    0    0     0          0         0        7       1    0    0    0     0       0          0
  eth2: 5 torn
";
        let expected = NetworkReading {
            received_bytes: 1_200,
            sent_bytes: 57,
            n_errors: 10,
        };
        assert_eq!(network(table), expected);
        for broken in [
            "",
            ":::\n",
            "eth0: 1 2 3",
            "eth0:x 2 3 4 5 6 7 8 9 10 11 12",
        ] {
            assert_eq!(network(broken), NetworkReading::default(), "{broken:?}");
        }
    }

    #[test]
    fn pressure_is_the_total_of_some() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=10211\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=6837\n";
        assert_eq!(pressure(text), Some(10_211));
        for broken in ["", "full total=1", "some avg10=1", "some total=-4"] {
            assert_eq!(pressure(broken), None, "{broken:?}");
        }
    }
}

//! Numbers as people read them: three digits and a unit, or all digits in groups.

/// A time in the unit that leaves one to three digits before the point.
pub(crate) fn time(ns: u64) -> String {
    let (unit, scale) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => ("us", 1e3),
        1_000_000..1_000_000_000 => ("ms", 1e6),
        _ => ("s", 1e9),
    };
    format!("{} {unit}", three_digits(ns as f64 / scale))
}

/// A time without zeros after the point: a bound, or a name on an axis.
pub(crate) fn time_rounded(ns: u64) -> String {
    rounded(&time(ns))
}

/// A number with its unit, without zeros after the point.
pub(crate) fn rounded(text: &str) -> String {
    let (number, unit) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number}{unit}")
}

/// How long something lasts, as on a clock.
pub(crate) fn span(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds}.{} s", ns / 100_000_000 % 10),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// A number with three digits and a prefix of a thousand's power: `1.23 M`.
pub(crate) fn short(number: f64) -> String {
    let prefixes = ["", " k", " M", " G", " T", " P", " E"];
    let mut value = number;
    let mut power = 0;
    // What would be rounded to 1000 belongs to the next prefix.
    while value >= 999.5 && power + 1 < prefixes.len() {
        value /= 1e3;
        power += 1;
    }
    let is_whole = power == 0 && value.fract() == 0.0;
    let digits = if is_whole { format!("{value:.0}") } else { three_digits(value) };
    digits + prefixes[power]
}

/// Memory.
pub(crate) fn bytes(count: u64) -> String {
    let (unit, shift) = match count {
        0..0x400 => return format!("{count} B"),
        0x400..0x10_0000 => ("KiB", 10),
        0x10_0000..0x4000_0000 => ("MiB", 20),
        0x4000_0000..0x100_0000_0000 => ("GiB", 30),
        _ => ("TiB", 40),
    };
    format!("{} {unit}", three_digits(count as f64 / (1u64 << shift) as f64))
}

fn three_digits(value: f64) -> String {
    // By what is left after rounding, so that 9.999 becomes 10.0.
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$}")
}

/// A number of things.
pub(crate) fn plural(count: u64, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {thing}{s}", grouped(count))
}

/// A number with spaces between its thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (12_345, "12.3 us"),
            (123_456, "123 us"),
            (9_876_543, "9.88 ms"),
            (9_996_000, "10.0 ms"),
            (61_000_000_000, "61.0 s"),
        ] {
            assert_eq!(time(ns), text);
        }
    }

    #[test]
    fn bounds_have_no_zeros_after_the_point() {
        let texts = ["0", "100 us", "10.0 ms", "1.50 M"];
        assert_eq!(texts.map(rounded), ["0", "100 us", "10 ms", "1.5 M"]);
        assert_eq!(time_rounded(5_000_000), "5 ms");
    }

    #[test]
    fn spans_read_as_on_a_clock() {
        for (ms, text) in [
            (0, "0.0 s"),
            (12_390, "12.3 s"),
            (59_999, "59.9 s"),
            (60_000, "1 min 00 s"),
            (3_599_000, "59 min 59 s"),
            (3_660_000, "1 h 01 min"),
        ] {
            assert_eq!(span(ms * 1_000_000), text);
        }
    }

    #[test]
    fn short_numbers_keep_three_digits() {
        for (number, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (7.25, "7.25"),
            (999.0, "999"),
            (999.7, "1.00 k"),
            (12_345.0, "12.3 k"),
            (999_600.0, "1.00 M"),
            (u64::MAX as f64, "18.4 E"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn memory_has_binary_units() {
        for (count, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.50 KiB"),
            (64 << 20, "64.0 MiB"),
            (3 << 30, "3.00 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(plural(1, "worker"), "1 worker");
        assert_eq!(plural(2_000, "worker"), "2 000 workers");
    }
}

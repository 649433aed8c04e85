//! Figures as people read them.

/// A time in the unit that leaves one to three digits before the point.
pub fn time(ns: u64) -> String {
    let (unit, scale) = match ns {
        0..1_000 => return format!("{ns} ns"),
        // Not up to the next unit, where rounding makes it 1000.
        1_000..999_500 => ("us", 1e3),
        999_500..999_500_000 => ("ms", 1e6),
        _ => ("s", 1e9),
    };
    format!("{} {unit}", three_digits(ns as f64 / scale))
}

/// A memory size in the unit that leaves one to four digits before the point.
pub fn bytes(bytes: u64) -> String {
    let (unit, shift) = match bytes {
        0..1_024 => return format!("{bytes} B"),
        1_024..1_048_576 => ("KiB", 10),
        1_048_576..1_073_741_824 => ("MiB", 20),
        _ => ("GiB", 30),
    };
    format!("{} {unit}", three_digits(bytes as f64 / (1u64 << shift) as f64))
}

/// At least three significant digits, and no more decimals than that takes.
pub fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// A share in percent, which says 0 and 100 only when it is.
pub fn percent(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        ..0.01 => "< 0.01".to_owned(),
        99.99..100.0 => "> 99.99".to_owned(),
        99.9..99.99 => format!("{value:.2}"),
        _ => three_digits(value),
    }
}

/// A number of things.
pub fn plural(count: u64, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {thing}{s}", grouped(count))
}

/// A number with spaces between its thousands.
pub fn grouped(number: u64) -> String {
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
            (999_499, "999 us"),
            (999_500, "1.00 ms"),
            (999_500_000, "1.00 s"),
            (9_876_543, "9.88 ms"),
            (9_996_000, "10.0 ms"),
            (61_000_000_000, "61.0 s"),
        ] {
            assert_eq!(time(ns), text);
        }
    }

    #[test]
    fn sizes_have_units() {
        for (size, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.00 KiB"),
            (50 << 20, "50.0 MiB"),
            (1_000 << 20, "1000 MiB"),
            (3 << 29, "1.50 GiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn only_nothing_is_0_percent_and_only_all_is_100() {
        for (value, text) in [
            (0.0, "0"),
            (0.004, "< 0.01"),
            (0.05, "0.05"),
            (12.345, "12.3"),
            (99.96, "99.96"),
            (99.999, "> 99.99"),
            (100.0, "100"),
            (250.0, "250"),
        ] {
            assert_eq!(percent(value), text, "{value}");
        }
    }

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(
            (plural(1, "room"), plural(2_000, "room")),
            ("1 room".to_owned(), "2 000 rooms".to_owned())
        );
    }
}

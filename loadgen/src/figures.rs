//! Numbers as people read them: three digits and a unit, or all digits in groups.
//!
//! What carries its unit along, for axes and tables of pages, is in `report/units`, and built on these.

/// How many of a unit there are in a larger one, and that one's name.
pub(crate) type Multiple = (f64, &'static str);

// The smallest come first.
pub(crate) const TIMES: [Multiple; 4] = [(1.0, "ns"), (1e3, "us"), (1e6, "ms"), (1e9, "s")];
pub(crate) const SIZES: [Multiple; 5] = [
    (1.0, "B"),
    (1024.0, "KiB"),
    ((1u64 << 20) as f64, "MiB"),
    ((1u64 << 30) as f64, "GiB"),
    ((1u64 << 40) as f64, "TiB"),
];
pub(crate) const THOUSANDS: [Multiple; 7] =
    [(1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"), (1e15, "P"), (1e18, "E")];

/// Three significant digits below a thousand, whole numbers from there: how all figures are rounded.
pub(crate) fn rounded(value: f64) -> f64 {
    if value.abs() >= 1000.0 || value == 0.0 || !value.is_finite() {
        return value.round();
    }
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// The largest multiple of which `value` is at least one, once it is rounded: 999.6 us are a millisecond.
pub(crate) fn multiple(multiples: &[Multiple], value: f64) -> Multiple {
    let is_full = |pair: &&[Multiple]| rounded(value.abs() / pair[0].0) >= pair[1].0 / pair[0].0;
    multiples[multiples.windows(2).take_while(is_full).count()]
}

/// Three significant digits, but no more than two of them behind the point.
fn three_digits(value: f64) -> String {
    let decimals = match rounded(value).abs() {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// So many of something that is not split, or three digits of a multiple.
fn in_multiples(multiples: &[Multiple], count: u64) -> String {
    match multiple(multiples, count as f64) {
        (1.0, unit) => format!("{count} {unit}"),
        (size, unit) => format!("{} {unit}", three_digits(count as f64 / size)),
    }
}

/// A time in the unit that leaves one to three digits before the point.
pub(crate) fn time(ns: u64) -> String {
    in_multiples(&TIMES, ns)
}

/// Memory, in the unit that leaves one to four digits before the point.
pub(crate) fn bytes(count: u64) -> String {
    in_multiples(&SIZES, count)
}

/// A number with three digits and a prefix of a thousand's power: `1.23 M`.
pub(crate) fn short(number: f64) -> String {
    match multiple(&THOUSANDS, number) {
        (1.0, _) if number.fract() == 0.0 => format!("{number:.0}"),
        (1.0, _) => three_digits(number),
        (size, prefix) => format!("{} {prefix}", three_digits(number / size)),
    }
}

/// A time without zeros after the point: a bound, or a name on an axis.
pub(crate) fn time_trimmed(ns: u64) -> String {
    trimmed(&time(ns))
}

/// A number and what may follow it, without zeros after the point.
pub(crate) fn trimmed(text: &str) -> String {
    let (number, unit) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number}{unit}")
}

/// A number with at most so many decimals, and without zeros after the point.
pub(crate) fn decimal(value: f64, decimals_max: usize) -> String {
    trimmed(&format!("{value:.decimals_max$}"))
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

/// A share in percent, which says 0 and 100 only when it is.
pub(crate) fn percent(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        ..0.01 => "< 0.01".to_owned(),
        99.99..100.0 => "> 99.99".to_owned(),
        99.9..99.99 => format!("{value:.2}"),
        _ => three_digits(value),
    }
}

/// A number of things.
pub(crate) fn plural(count: u64, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {thing}{s}", grouped(count))
}

/// A whole number with spaces between its thousands.
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
    fn memory_has_binary_units() {
        for (count, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.00 KiB"),
            (1_536, "1.50 KiB"),
            (64 << 20, "64.0 MiB"),
            (1_000 << 20, "1000 MiB"),
            ((1 << 30) - 1, "1.00 GiB"),
            (3 << 29, "1.50 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(count), text);
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
    fn bounds_have_no_zeros_after_the_point() {
        let texts = ["0", "100 us", "10.0 ms", "1.50 M"];
        assert_eq!(texts.map(trimmed), ["0", "100 us", "10 ms", "1.5 M"]);
        assert_eq!(time_trimmed(5_000_000), "5 ms");
        assert_eq!([7.125, 1200.0, 0.1 + 0.2].map(|value| decimal(value, 3)), ["7.125", "1200", "0.3"]);
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
        assert_eq!(plural(1, "worker"), "1 worker");
        assert_eq!(plural(2_000, "worker"), "2 000 workers");
    }
}

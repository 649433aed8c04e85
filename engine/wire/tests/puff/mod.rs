//! RFC 1951 read literally, one bit at a time: slow, plain, and strict about the window. zlib-rs has the
//! largest window whatever size is asked for, so it cannot tell whether a smaller one would do.

/// What is read bit by bit, the least significant bit of each byte first (section 3.1.1).
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<usize> {
        let byte = *self.bytes.get(self.at / 8)?;
        self.at += 1;
        Some(usize::from(byte >> ((self.at - 1) % 8) & 1))
    }

    fn number(&mut self, bits: usize) -> Option<usize> {
        (0..bits).try_fold(0, |number, i| Some(number | self.bit()? << i))
    }

    /// Skips to the next byte, and takes so many of them.
    fn bytes(&mut self, len: usize) -> Option<&[u8]> {
        let start = self.at.div_ceil(8);
        self.at = 8 * (start + len);
        self.bytes.get(start..start + len)
    }

    fn is_at_end(&self) -> bool {
        self.at.div_ceil(8) >= self.bytes.len()
    }
}

/// A Huffman code (section 3.2.2): the symbols with their lengths, in the order of their codes.
struct Code(Vec<(usize, usize)>);

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let used = lengths.iter().enumerate().filter(|(_, length)| **length > 0);
        let mut symbols: Vec<_> = used.map(|(symbol, length)| (*length, symbol)).collect();
        symbols.sort_unstable();
        Self(symbols)
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut read, mut read_len, mut code, mut code_len) = (0, 0, 0, 0);
        for (length, symbol) in &self.0 {
            code <<= length - code_len;
            code_len = *length;
            while read_len < code_len {
                read = read << 1 | bits.bit()?;
                read_len += 1;
            }
            if read == code {
                return Some(*symbol);
            }
            code += 1;
        }
        None
    }
}

/// The codes of a block with codes of its own (section 3.2.7).
fn dynamic(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let (literals, distances, codes) = (bits.number(5)? + 257, bits.number(5)? + 1, bits.number(4)? + 4);
    let mut lengths = [0; 19];
    for symbol in &ORDER[..codes] {
        lengths[*symbol] = bits.number(3)?;
    }
    let code = Code::new(&lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (length, times) = match code.symbol(bits)? {
            16 => (*lengths.last()?, 3 + bits.number(2)?),
            17 => (0, 3 + bits.number(3)?),
            18 => (0, 11 + bits.number(7)?),
            length => (length, 1),
        };
        lengths.extend(vec![length; times]);
    }
    Some((Code::new(&lengths[..literals]), Code::new(&lengths[literals..literals + distances])))
}

/// The codes that every decoder knows (section 3.2.6).
fn fixed() -> (Code, Code) {
    let lengths = [vec![8; 144], vec![9; 112], vec![7; 24], vec![8; 8]].concat();
    (Code::new(&lengths), Code::new(&[5; 30]))
}

/// Inflates a message's payload. `None` if it is not valid, or refers further back than `window` bytes.
pub(crate) fn inflate(payload: &[u8], window: usize) -> Option<Vec<u8>> {
    const LENGTHS: [usize; 29] = [
        3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163,
        195, 227, 258,
    ];
    let bytes = [payload, &[0x00, 0x00, 0xff, 0xff]].concat();
    let mut bits = Bits { bytes: &bytes, at: 0 };
    let mut out = Vec::new();
    while !bits.is_at_end() {
        let last = bits.bit()? == 1;
        let (literals, distances) = match bits.number(2)? {
            0 => {
                let sizes = bits.bytes(4)?;
                let len = u16::from_le_bytes([sizes[0], sizes[1]]);
                if len != !u16::from_le_bytes([sizes[2], sizes[3]]) {
                    return None;
                }
                out.extend_from_slice(bits.bytes(usize::from(len))?);
                continue;
            }
            1 => fixed(),
            2 => dynamic(&mut bits)?,
            _ => return None,
        };
        loop {
            let symbol = literals.symbol(&mut bits)?;
            match symbol {
                0..=255 => out.push(symbol as u8),
                256 => break,
                _ => {
                    let at = symbol - 257;
                    let extra = if (8..28).contains(&at) { at / 4 - 1 } else { 0 };
                    let length = LENGTHS.get(at)? + bits.number(extra)?;
                    let code = distances.symbol(&mut bits)?;
                    let extra = (code / 2).saturating_sub(1);
                    let base = if code < 2 { code } else { (2 + code % 2) << extra };
                    let distance = 1 + base + bits.number(extra)?;
                    if distance > window || distance > out.len() {
                        return None;
                    }
                    for _ in 0..length {
                        out.push(out[out.len() - distance]);
                    }
                }
            }
        }
        if last {
            bits.bytes(0)?;
        }
    }
    Some(out)
}

//! What a session writes to: masked frames at the end of a connection's outgoing bytes.

use fanfare_wire::deflate::Compressor;
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::mask;

use crate::random::Random;

/// Appends messages as masked frames (RFC 6455 section 5.3).
#[derive(Debug)]
pub struct Frames<'a> {
    bytes: &'a mut Vec<u8>,
    random: &'a mut Random,
    compressor: Option<&'a mut Compressor>,
    compress_bytes_min: usize,
}

impl<'a> Frames<'a> {
    pub fn new(bytes: &'a mut Vec<u8>, random: &'a mut Random) -> Self {
        Self { bytes, random, compressor: None, compress_bytes_min: 0 }
    }

    /// Messages of at least so many bytes go compressed (RFC 7692 section 6.1), if there is a compressor.
    pub(crate) fn compressing_from(
        mut self,
        bytes_min: usize,
        compressor: Option<&'a mut Compressor>,
    ) -> Self {
        (self.compress_bytes_min, self.compressor) = (bytes_min, compressor);
        self
    }

    pub fn text(&mut self, message: &str) {
        self.write(Opcode::Text, &[message.as_bytes()]);
    }

    pub fn binary(&mut self, message: &[u8]) {
        self.write(Opcode::Binary, &[message]);
    }

    /// Writes one text message that is made of `parts`, which together must be UTF-8.
    pub(crate) fn text_of(&mut self, parts: &[&[u8]]) {
        self.write(Opcode::Text, parts);
    }

    /// Writes one binary message that is made of `parts`.
    pub(crate) fn binary_of(&mut self, parts: &[&[u8]]) {
        self.write(Opcode::Binary, parts);
    }

    /// A number that no other session has, for names that have to be unique.
    pub(super) fn unique(&mut self) -> u64 {
        self.random.number()
    }

    fn write(&mut self, opcode: Opcode, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let key = self.random.mask();
        if let Some(compressor) = self.compressor.as_deref_mut().filter(|_| length >= self.compress_bytes_min)
        {
            let mut compressed = Vec::new();
            match parts {
                [part] => compressor.compress(part, &mut compressed),
                parts => compressor.compress(&parts.concat(), &mut compressed),
            }
            return frame::write_compressed(self.bytes, opcode, &compressed, Some(key));
        }
        let header = frame::header(opcode, true, length as u64, Some(key));
        self.bytes.reserve(header.len() + length);
        self.bytes.extend_from_slice(&header);
        let start = self.bytes.len();
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        mask::apply(&mut self.bytes[start..], key, 0);
    }
}

//! The secret that a coordinator and its agents have in common, and the proof of having it.

use std::fmt;
use std::fs;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The environment variable that holds the secret when no file does.
pub(super) const SECRET_VARIABLE: &str = "FANFARE_LOADGEN_SECRET";

/// Who listens to a proof can try all short secrets at leisure.
const CHARACTERS_MIN: usize = 16;

/// Known to both machines, never sent, and never printed.
#[derive(Clone)]
pub struct Secret(String);

/// What one side wants to see signed: fresh randomness for each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Challenge([u8; 32]);

/// A side's signature under the challenges of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proof([u8; 32]);

/// Whose proof it is. Otherwise an agent could be sent its own proof back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Coordinator,
    Agent,
}

/// The challenges of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Challenges {
    pub(super) coordinator: Challenge,
    pub(super) agent: Challenge,
}

impl Secret {
    /// White space around it does not count, since files end in a line feed.
    ///
    /// # Errors
    /// When it is too short to be one.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.chars().count() < CHARACTERS_MIN {
            return Err(format!(
                "a secret needs at least {CHARACTERS_MIN} characters, such as openssl rand -hex 32 prints"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads it from `file`, or else from the environment; `None` when neither is there.
    ///
    /// # Errors
    /// When there is a file but it cannot be read, or when what is there is too short.
    pub fn find(file: Option<&Path>) -> Result<Option<Self>, String> {
        let (place, text) = match file {
            Some(path) => {
                let place = format!("the secret file {}", path.display());
                let text = fs::read_to_string(path).map_err(|error| format!("{place}: {error}"))?;
                (place, text)
            }
            None => match std::env::var(SECRET_VARIABLE) {
                Ok(text) => (SECRET_VARIABLE.to_owned(), text),
                Err(std::env::VarError::NotPresent) => return Ok(None),
                Err(error) => return Err(format!("{SECRET_VARIABLE}: {error}")),
            },
        };
        Self::new(&text).map(Some).map_err(|error| format!("{place}: {error}"))
    }

    pub(super) fn prove(&self, side: Side, challenges: &Challenges) -> Proof {
        Proof(self.signature(side, challenges).finalize().into_bytes().into())
    }

    /// Whether `proof` is the one of `side`. Takes the same time wherever they differ.
    pub(super) fn holds(&self, proof: &Proof, side: Side, challenges: &Challenges) -> bool {
        self.signature(side, challenges).verify_slice(&proof.0).is_ok()
    }

    fn signature(&self, side: Side, challenges: &Challenges) -> Hmac<Sha256> {
        let mut hmac =
            Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).expect("HMAC takes keys of any length");
        hmac.update(match side {
            Side::Coordinator => b"fanfare-loadgen coordinator\0",
            Side::Agent => b"fanfare-loadgen agent\0",
        });
        hmac.update(&challenges.coordinator.0);
        hmac.update(&challenges.agent.0);
        hmac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

impl Challenge {
    /// # Errors
    /// When the kernel gives no entropy.
    pub(super) fn new() -> Result<Self, String> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| format!("the kernel gives no randomness: {error}"))?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenges(coordinator: u8, agent: u8) -> Challenges {
        Challenges { coordinator: Challenge([coordinator; 32]), agent: Challenge([agent; 32]) }
    }

    #[test]
    fn a_proof_holds_for_its_secret_side_and_challenges_only() {
        let secret = Secret::new("correct horse battery").expect("long enough");
        let proof = secret.prove(Side::Coordinator, &challenges(1, 2));
        assert!(secret.holds(&proof, Side::Coordinator, &challenges(1, 2)));
        assert!(!secret.holds(&proof, Side::Agent, &challenges(1, 2)));
        assert!(!secret.holds(&proof, Side::Coordinator, &challenges(2, 1)));
        assert!(!secret.holds(&proof, Side::Coordinator, &challenges(1, 3)));
        let other = Secret::new("correct horse batterx").expect("long enough");
        assert!(!other.holds(&proof, Side::Coordinator, &challenges(1, 2)));
    }

    /// Computed with Python's `hmac` module.
    #[test]
    fn a_proof_is_what_other_implementations_of_hmac_sha_256_say() {
        let secret = Secret::new("0123456789abcdef\n").expect("long enough");
        let Proof(bytes) = secret.prove(Side::Agent, &challenges(7, 9));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "e955ab468134bfe2e20ea10acbc8529e9b0b20be7fa1ee15ec57eaaaeb25471a");
    }

    #[test]
    fn secrets_are_long_and_not_printed() {
        for (text, good) in
            [("", false), ("short", false), ("123456789012345\n", false), ("1234567890123456", true)]
        {
            assert_eq!(Secret::new(text).is_ok(), good, "{text}");
        }
        let secret = Secret::new("correct horse battery").expect("long enough");
        assert!(!format!("{secret:?}").contains("horse"));
    }

    #[test]
    fn a_file_that_cannot_be_read_or_is_too_short_is_named() {
        let missing = Secret::find(Some(Path::new("/nonexistent/secret"))).expect_err("no such file");
        assert!(missing.starts_with("the secret file /nonexistent/secret: "), "{missing}");
        let short = Secret::find(Some(Path::new("/dev/null"))).expect_err("nothing in it");
        assert!(short.starts_with("the secret file /dev/null: a secret needs"), "{short}");
    }
}

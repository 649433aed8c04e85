//! Nchan, the broadcast module of nginx. A WebSocket subscriber gets each payload as one message, and a WebSocket
//! publisher sends them so; a publisher location takes them with POST.
//!
//! Only what was posted as binary, by its content type, is delivered in binary messages. All else comes as text, and a
//! text message that is not UTF-8 would end the connection.

use super::post::{BodyPoster, Poster};

pub(super) fn poster(target: &str, host: &str) -> Box<dyn Poster> {
    Box::new(BodyPoster::new(target, host))
}

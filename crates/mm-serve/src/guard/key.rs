//! The API key of a request, compared in a time that does not tell how much of it is right.

use axum::http::{HeaderMap, StatusCode, header};
use subtle::{Choice, ConstantTimeEq};

use crate::error::ApiError;

/// The longest key. Keys are padded to it, so that the time to compare does not tell their length.
pub(crate) const LONGEST: usize = 256;

/// Fails unless the request shows one of the keys as `Authorization: Bearer KEY`.
pub(super) fn check(headers: &HeaderMap, keys: &[String]) -> Result<(), ApiError> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    let Some(shown) = shown else {
        return Err(refused(
            "an API key is missing, wanted the header `Authorization: Bearer KEY`",
        ));
    };
    // Every key is compared, whichever is right.
    let right = keys.iter().fold(Choice::from(0), |right, key| right | same(key.as_bytes(), shown));
    if bool::from(right) { Ok(()) } else { Err(refused("the API key is not one of this server's")) }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

/// Compares two keys. A key that is too long is like no other.
fn same(a: &[u8], b: &[u8]) -> Choice {
    let fits = Choice::from(u8::from(a.len() <= LONGEST && b.len() <= LONGEST));
    let length = (a.len() as u64).ct_eq(&(b.len() as u64));
    fits & length & padded(a).ct_eq(&padded(b))
}

fn padded(key: &[u8]) -> [u8; LONGEST] {
    let mut padded = [0; LONGEST];
    let kept = key.len().min(LONGEST);
    padded[..kept].copy_from_slice(&key[..kept]);
    padded
}

fn refused(why: &str) -> ApiError {
    ApiError::of(StatusCode::UNAUTHORIZED, "authentication_error", why.to_owned())
        .with_code("invalid_api_key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_only_byte_for_byte() {
        let is_same = |a: &str, b: &str| bool::from(same(a.as_bytes(), b.as_bytes()));
        assert!(is_same("secret", "secret"));
        for other in ["", "secre", "secret\0", "secretx", "Secret"] {
            assert!(!is_same("secret", other), "{other:?}");
        }
        let long = "k".repeat(LONGEST + 1);
        assert!(!is_same(&long, &long));
        assert!(is_same(&long[1..], &long[1..]));
    }

    #[test]
    fn the_scheme_of_a_key_is_read_in_any_case() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        for wrong in [&b"Basic abc"[..], b"abc", b"", b"Bearer"] {
            assert_eq!(bearer(wrong), None);
        }
    }
}

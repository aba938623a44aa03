//! Random identifiers: UUIDs for objects, short suffixes for generated names.

use aws_lc_rs::rand;

/// Letters and digits of generated names: no vowels, so no words, and no look-alikes.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Random bytes from the system's generator.
///
/// # Panics
/// When the kernel gives no randomness: nothing can be signed or named safely then.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    #[allow(clippy::expect_used, reason = "without randomness no key or name is safe")]
    rand::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

/// A random (version 4) UUID in its usual text form.
pub fn uuid() -> String {
    let mut b: [u8; 16] = random();
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex: String = b.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A suffix of `length` characters for a generated name.
pub fn suffix(length: usize) -> String {
    let mut out = String::with_capacity(length);
    while out.len() < length {
        // 243 = 9 * 27: bytes above it would favour the first letters.
        let usable = random::<16>().into_iter().filter(|&b| b < 243);
        out.extend(usable.take(length - out.len()).map(|b| ALPHABET[usize::from(b) % 27] as char));
    }
    out
}

/// A short name for a long text that is the same in every version of rk (FNV-1a, 64 bits). Not for
/// texts that somebody may choose to collide.
pub fn hash(text: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    text.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_has_version_and_variant() {
        let id = uuid();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
        assert_ne!(id, uuid());
    }

    #[test]
    fn suffix_uses_only_the_alphabet() {
        let s = suffix(100);
        assert_eq!(s.len(), 100);
        assert!(s.bytes().all(|b| ALPHABET.contains(&b)));
    }
}

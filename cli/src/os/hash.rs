//! FNV-1a: the same on every machine and version, for names that must not change.

/// 16 hexadecimal digits of these bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// A UUID (version 8) that is always the same for the same name.
pub(crate) fn uuid(name: &str) -> String {
    let high = hex(format!("high:{name}").as_bytes());
    let low = hex(format!("low:{name}").as_bytes());
    format!(
        "{}-{}-8{}-8{}-{}",
        &high[..8],
        &high[8..12],
        &high[13..],
        &low[1..4],
        &low[4..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(hex(b""), "cbf29ce484222325");
        assert_eq!(hex(b"foobar"), "85944171f73967e8");
    }

    #[test]
    fn a_name_gives_one_well_formed_uuid() {
        let uuid_of_name = uuid("offer:1");
        let lengths: Vec<usize> = uuid_of_name.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&uuid_of_name[14..15], "8");
        assert_eq!(&uuid_of_name[19..20], "8");
        assert_eq!(uuid_of_name, uuid("offer:1"));
        assert_ne!(uuid_of_name, uuid("offer:2"));
    }
}

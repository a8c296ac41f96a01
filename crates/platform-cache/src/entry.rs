//! What lies in Redis under a key, and the scripts that change it.
//!
//! Either a value with its versions; or the knowledge that there is none, likewise; or a mark: the
//! versions that a value must have at least, and the token of the loads that may store one.
//! A tag of one byte, each version as eight bytes, then the value or the token.

use bytes::Bytes;
use prost::Message;

use crate::script::Script;

const VALUE: u8 = b'v';
const NOTHING: u8 = b'n';
const MARK: u8 = b'm';

/// Names the loads that began under the same mark, in all processes.
pub(crate) type Token = [u8; 16];

/// What was found under a key.
pub(crate) enum Held<V> {
    /// A value, or that there is none.
    Value(Option<V>),
    /// Nothing that could be used; with the token of the loads that may store something.
    Mark(Option<Token>),
    /// Not written by us.
    Damaged,
}

impl<V: Message + Default> Held<V> {
    pub(crate) fn parse<const N: usize>(bytes: Option<Bytes>) -> Held<V> {
        let Some(mut bytes) = bytes else {
            return Held::Mark(None);
        };
        if bytes.len() < 1 + 8 * N {
            return Held::Damaged;
        }
        let rest = bytes.split_off(1 + 8 * N);
        match bytes[0] {
            NOTHING if rest.is_empty() => Held::Value(None),
            MARK => Held::Mark(rest.as_ref().try_into().ok()),
            VALUE => match V::decode(rest) {
                Ok(value) => Held::Value(Some(value)),
                Err(_) => Held::Damaged,
            },
            _ => Held::Damaged,
        }
    }
}

pub(crate) fn write<V: Message, const N: usize>(versions: [i64; N], value: Option<&V>) -> Bytes {
    let mut bytes = vec![if value.is_some() { VALUE } else { NOTHING }];
    bytes.extend(write_versions(versions));
    if let Some(value) = value {
        bytes.extend(value.encode_to_vec());
    }
    bytes.into()
}

pub(crate) fn write_versions<const N: usize>(versions: [i64; N]) -> Vec<u8> {
    let bytes = versions.map(|version| version.max(0).to_be_bytes());
    bytes.as_flattened().to_vec()
}

/// Marks each key for a load, and answers what stands there then: the mark, whose token may be that
/// of loads under way elsewhere, or what somebody has stored meanwhile.
/// Arguments: token, number of versions, life of the mark.
pub(crate) static LEASE: Script = Script::new(
    r"
local width = 8 * tonumber(ARGV[2])
local found = {}
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if not held or (string.sub(held, 1, 1) == 'm' and #held == 1 + width) then
    local floor = held and string.sub(held, 2) or string.rep('\0', width)
    held = 'm' .. floor .. ARGV[1]
    redis.call('SET', key, held, 'PX', ARGV[3])
  end
  found[i] = held
end
return found
",
);

/// Stores what was loaded where the mark of the load still stands and nothing newer is known.
/// Arguments: number of versions, then token, entry and life of each.
pub(crate) static FILL: Script = Script::new(
    r"
local count = tonumber(ARGV[1])
local stored = {}
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  local token, entry, life = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  local fits = held and string.sub(held, 1, 1) == 'm' and string.sub(held, 2 + 8 * count) == token
  if fits then
    for at = 2, 8 * count, 8 do
      if struct.unpack('>I8', entry, at) < struct.unpack('>I8', held, at) then fits = false end
    end
  end
  if fits then redis.call('SET', key, entry, 'PX', life) end
  stored[i] = fits and 1 or 0
end
return stored
",
);

/// Puts a mark without a token in the place of everything older than the versions given.
/// Arguments: number of versions, life of the mark, then the versions of each.
pub(crate) static RAISE: Script = Script::new(
    r"
local count = tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  local floor = ARGV[2 + i]
  local older = not held
  if held then
    local highest = {}
    for at = 1, 8 * count, 8 do
      local known = string.sub(held, at + 1, at + 8)
      local given = string.sub(floor, at, at + 7)
      if struct.unpack('>I8', known) < struct.unpack('>I8', given) then
        older = true
        known = given
      end
      highest[#highest + 1] = known
    end
    floor = table.concat(highest)
  end
  if older then redis.call('SET', key, 'm' .. floor, 'PX', ARGV[2]) end
end
return #KEYS
",
);

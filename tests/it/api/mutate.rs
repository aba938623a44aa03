//! Makes cases out of objects: the same seed yields the same case.

use rk::api::tree::Value;

/// Random numbers that a seed determines (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// Dice with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `sides`, which is not 0.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }
}

/// Values that are wrong in most places, or right in a way that needs care.
fn odd_values() -> Vec<Value> {
    vec![
        Value::Null,
        Value::Bool(true),
        Value::Int(0),
        Value::Int(-7),
        Value::Int(1 << 40),
        Value::Float(1.5),
        "".into(),
        "text".into(),
        "100m".into(),
        "2020-02-30T00:00:00Z".into(),
        "2021-03-04T05:06:07.123456+02:00".into(),
        "1h5.5s".into(),
        Value::Array(vec![]),
        Value::Array(vec![Value::Null]),
        Value::Array(vec!["x".into()]),
        Value::object(),
        Value::from([("a", Value::Null)]),
        Value::from([("name", "n".into())]),
    ]
}

/// Changes one or two places of an object at random.
pub fn mutate(object: &mut Value, dice: &mut Dice) {
    for _ in 0..=dice.roll(2) {
        let steps = 1 + dice.roll(7);
        change(object, steps, dice);
    }
}

fn change(value: &mut Value, steps: usize, dice: &mut Dice) {
    let odd = dice.pick(&odd_values()).clone();
    match value {
        Value::Object(map) if !map.is_empty() && steps > 0 => {
            let at = dice.roll(map.len());
            if let Some((_, inner)) = map.iter_mut().nth(at) {
                change(inner, steps - 1, dice);
            }
        }
        Value::Object(map) => {
            map.insert(dice.pick(&["unknown", "Name", "a.b"]).to_string(), odd);
        }
        Value::Array(items) if !items.is_empty() && steps > 0 => {
            let at = dice.roll(items.len());
            change(&mut items[at], steps - 1, dice);
        }
        Value::Array(items) if dice.roll(2) == 0 => items.push(odd),
        value => *value = odd,
    }
}

/// Breaks bytes: some changed, some lost, some doubled, some nested deeply.
pub fn tear(body: &mut Vec<u8>, dice: &mut Dice) {
    if body.is_empty() {
        return;
    }
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(body.len().max(1));
        match dice.roll(6) {
            0 => body.truncate(at),
            1 => {
                let part = body.split_off(at);
                body.extend_from_slice(&part.clone());
                body.extend_from_slice(&part);
            }
            2 => body.splice(at..at, b"{\"a\":[".repeat(dice.roll(6000))).for_each(drop),
            3 => body.splice(at..at, dice.roll(1 << 30).to_string().bytes()).for_each(drop),
            _ if at < body.len() => body[at] = dice.roll(256) as u8,
            _ => {}
        }
    }
}

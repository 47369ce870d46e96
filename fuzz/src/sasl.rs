use waypost_sasl::{Exchange, Mechanism};

/// Any lines from a client: an answer to each, no panic.
pub fn exchange(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mechanism = if first & 1 == 0 { Mechanism::Plain } else { Mechanism::Login };
    let mut exchange = Exchange::new(mechanism);
    let mut lines = rest.split(|&b| b == b'\n');
    let initial = if first & 2 == 0 { None } else { lines.next() };
    let _ = exchange.begin(initial);
    for line in lines {
        let _ = exchange.response(line);
    }
}

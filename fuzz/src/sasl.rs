use waypost_machine::Secret;
use waypost_sasl::{Exchange, Mechanism, Step, plain_response};

/// Any lines from a client: an answer to each, no panic.
pub fn exchange(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mechanism = if first & 1 == 0 { Mechanism::Plain } else { Mechanism::Login };
    let mut exchange = Exchange::new(mechanism);
    let mut lines = rest.split(|&b| b == b'\n');
    let initial = if first & 2 == 0 { None } else { lines.next() };
    let mut over = check(exchange.begin(initial));
    for line in lines {
        let step = exchange.response(line);
        assert!(!over || matches!(step, Step::Failed(_)), "it goes on after the end");
        over |= check(step);
    }
    // What a client makes of them is read as them.
    let (Some(user), Some(password)) = (line(rest, 0), line(rest, 1)) else { return };
    let response = plain_response(user, &Secret::new(password.into()));
    if let Step::Done(credentials) =
        Exchange::new(Mechanism::Plain).begin(Some(response.expose().as_bytes()))
    {
        assert_eq!(&*credentials.authcid, user);
        assert_eq!(&**credentials.password.expose(), password);
    } else {
        let odd = |text: &str| text.is_empty() || text.contains('\0') || text.len() > 100;
        assert!(odd(user) || odd(password), "{user:?} {password:?}");
    }
}

fn line(text: &[u8], n: usize) -> Option<&str> {
    std::str::from_utf8(text.split(|&b| b == b'\n').nth(n)?).ok()
}

/// True at the end. Credentials are whole: a directory takes an empty password for an anonymous bind.
fn check(step: Step) -> bool {
    match step {
        Step::Challenge(_) => false,
        Step::Done(credentials) => {
            assert!(!credentials.authcid.is_empty() && !credentials.password.expose().is_empty());
            let text = [&*credentials.authcid, credentials.password.expose()].concat();
            assert!(!text.contains('\0'), "{text:?}");
            true
        }
        Step::Failed(_) => true,
    }
}

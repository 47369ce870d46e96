/// Any `waypost.toml`: typed settings, or problems that name a line of it.
pub fn file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(problems) = waypost_config::parse(text) {
        for problem in problems.iter() {
            assert!(!problem.to_string().is_empty());
        }
    }
}

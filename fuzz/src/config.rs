/// Any `waypost.toml`: typed settings, or problems that name a line of it.
pub fn file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines = text.split('\n').count();
    match waypost_config::parse(text) {
        Ok(config) => {
            // Remarks and blank lines change nothing.
            let again = waypost_config::parse(&format!("# a remark\n\n{text}"));
            assert_eq!(again.map(|again| format!("{again:?}")).ok(), Some(format!("{config:?}")));
        }
        Err(problems) => {
            assert!(problems.iter().count() > 0, "refused, and nothing is wrong");
            for problem in problems.iter() {
                assert!(!problem.what.is_empty());
                assert!(problem.line <= lines, "line {} of {lines}", problem.line);
            }
        }
    }
}

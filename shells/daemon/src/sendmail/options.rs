//! The command line of sendmail(1).

use std::path::PathBuf;

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Job {
    /// Send what comes on standard input: `-bm`, and without any `-b`.
    #[default]
    Send,
    /// `-bs`: SMTP on standard input and output.
    Relay,
    /// `-bp`
    List,
    /// `-q`
    Flush,
    /// `-bi`, `-I`: there is no alias file to be made.
    Nothing,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) job: Job,
    /// `-t`: recipients stand in the header.
    pub(super) from_header: bool,
    /// `-i`, `-oi`: a line with a dot alone ends nothing.
    pub(super) ignore_dots: bool,
    /// `-f`, `-r`: the envelope sender.
    pub(super) sender: Option<String>,
    /// `-F`: the name in From, where there is none.
    pub(super) name: Option<String>,
    /// `-N`, as in SMTP: `NEVER`, `SUCCESS,FAILURE`.
    pub(super) notify: Option<String>,
    /// `-R`, as in SMTP: `FULL`, `HDRS`.
    pub(super) ret: Option<String>,
    /// `-V`: the envelope id.
    pub(super) envid: Option<String>,
    /// `-C`
    pub(super) config: Option<PathBuf>,
    pub(super) recipients: Vec<String>,
}

/// Options that have a value, in the same word or in the next.
const WITH_VALUE: &str = "ABCFNORVXbfhLopr";
/// Options that have none.
const ALONE: &str = "GIUcegimnstvx";

/// Reads the command line, without the program's name.
pub(super) fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|it| !it.is_empty()) else {
            options.recipients.push(word.clone());
            continue;
        };
        if letters == "-" {
            options.recipients.extend(words.cloned());
            break;
        }
        if letters.starts_with('q') {
            // With or without an interval.
            options.job = Job::Flush;
            continue;
        }
        let mut rest = letters;
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            if WITH_VALUE.contains(letter) {
                let value = match rest {
                    "" => words.next().map(String::as_str),
                    here => Some(here),
                };
                let value = value.ok_or_else(|| format!("-{letter} needs a value"))?;
                options.set(letter, value)?;
                break;
            }
            match letter {
                't' => options.from_header = true,
                'i' => options.ignore_dots = true,
                'I' => options.job = Job::Nothing,
                letter if ALONE.contains(letter) => {}
                _ => return Err(format!("-{letter} is no option of sendmail")),
            }
        }
    }
    if options.job == Job::Send && !options.from_header && options.recipients.is_empty() {
        return Err("no recipients; name them, or take them from the header with -t".into());
    }
    Ok(options)
}

impl Options {
    fn set(&mut self, letter: char, value: &str) -> Result<(), String> {
        let text = || Some(value.to_owned());
        match letter {
            'b' => {
                self.job = match value {
                    "m" => Job::Send,
                    "s" => Job::Relay,
                    "p" => Job::List,
                    "i" => Job::Nothing,
                    _ => return Err(format!("-b{value} is not supported; -bm, -bs, -bp, -bi are")),
                }
            }
            'f' | 'r' => self.sender = text(),
            'F' => self.name = text(),
            'C' => self.config = Some(value.into()),
            'N' => self.notify = Some(notify(value)?),
            'R' => {
                self.ret = Some(match value.to_ascii_lowercase().as_str() {
                    "full" => "FULL".into(),
                    "hdrs" => "HDRS".into(),
                    _ => return Err(format!("-R {value}: full or hdrs")),
                });
            }
            'V' => self.envid = text(),
            'B' if !["7BIT", "8BITMIME"].iter().any(|it| value.eq_ignore_ascii_case(it)) => {
                return Err(format!("-B {value}: 7BIT or 8BITMIME"));
            }
            'o' if value == "i" => self.ignore_dots = true,
            _ => {}
        }
        Ok(())
    }
}

/// `never`, or some of `success`, `failure`, `delay`, with commas.
fn notify(value: &str) -> Result<String, String> {
    let words: Vec<_> = value.split(',').map(|it| it.trim().to_ascii_uppercase()).collect();
    let known = |it: &String| ["SUCCESS", "FAILURE", "DELAY"].contains(&it.as_str());
    match words.iter().all(known) || words == ["NEVER"] {
        true => Ok(words.join(",")),
        false => Err(format!("-N {value}: never, or some of success,failure,delay")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Options, String> {
        let words: Vec<_> = line.split(' ').filter(|it| !it.is_empty()).map(String::from).collect();
        parse(&words)
    }

    fn to(recipients: &[&str]) -> Options {
        let recipients = recipients.iter().map(|it| (*it).into()).collect();
        Options { recipients, ..Options::default() }
    }

    #[test]
    fn as_programs_call_it() {
        let header = || Options { from_header: true, ignore_dots: true, ..Options::default() };
        for (line, expected) in [
            // cron, PHP, mutt, git send-email, logwatch, postfix's own examples
            (
                "-FCronDaemon -i -odi -oem -oi -t -f root",
                Options {
                    name: Some("CronDaemon".into()),
                    sender: Some("root".into()),
                    ..header()
                },
            ),
            ("-t -i", header()),
            ("-ti", header()),
            (
                "-oem -oi -f me@a.test -- x@b.test",
                Options {
                    ignore_dots: true,
                    sender: Some("me@a.test".into()),
                    ..to(&["x@b.test"])
                },
            ),
            (
                "-i x@b.test -v y@c.test",
                Options { ignore_dots: true, ..to(&["x@b.test", "y@c.test"]) },
            ),
            (
                "-f <> -N never -R hdrs -V abc -B 8bitmime x@b.test",
                Options {
                    sender: Some("<>".into()),
                    notify: Some("NEVER".into()),
                    ret: Some("HDRS".into()),
                    envid: Some("abc".into()),
                    ..to(&["x@b.test"])
                },
            ),
            (
                "-Nsuccess,delay -rme x",
                Options {
                    notify: Some("SUCCESS,DELAY".into()),
                    sender: Some("me".into()),
                    ..to(&["x"])
                },
            ),
            ("-bm -- -x@b.test", to(&["-x@b.test"])),
            ("-bs", Options { job: Job::Relay, ..to(&[]) }),
            ("-bp", Options { job: Job::List, ..to(&[]) }),
            ("-q", Options { job: Job::Flush, ..to(&[]) }),
            ("-q30m", Options { job: Job::Flush, ..to(&[]) }),
            ("-bi", Options { job: Job::Nothing, ..to(&[]) }),
            (
                "-C /etc/x.toml -O a=b -X log -h 3 -bm x",
                Options { config: Some("/etc/x.toml".into()), ..to(&["x"]) },
            ),
        ] {
            assert_eq!(of(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense() {
        for (line, said) in [
            ("", "no recipients"),
            ("-i", "no recipients"),
            ("-f", "-f needs a value"),
            ("-bd", "-bd is not supported"),
            ("-Z x", "-Z is no option"),
            ("-ié x", "-é is no option"),
            ("-N sometimes x", "-N sometimes: never"),
            ("-N never,delay x", "-N never,delay: never"),
            ("-R all x", "-R all: full or hdrs"),
            ("-B binary x", "-B binary: 7BIT"),
        ] {
            let error = of(line).unwrap_err();
            assert!(error.starts_with(said), "{line}: {error}");
        }
    }
}

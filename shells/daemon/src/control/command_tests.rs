//! The commands on a spool without a server.

use std::fs;

use super::*;
use crate::control::testing::{body, spool};

struct Ran {
    dir: tempfile::TempDir,
    config: PathBuf,
}

impl Ran {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = spool(dir.path());
        Self { dir, config }
    }

    /// What a command prints, and whether it says that all went well.
    fn run(&self, arguments: &str) -> (String, bool) {
        let (out, done) = self.try_run(arguments);
        (String::from_utf8_lossy(&out).into_owned(), done.unwrap() == ExitCode::SUCCESS)
    }

    fn try_run(&self, arguments: &str) -> (Vec<u8>, Outcome) {
        let config = self.config.to_str().unwrap();
        let line = ["waypost", "queue"].into_iter().chain(arguments.split(' '));
        let command = crate::cli::queue_command(line.chain(["--config", config])).unwrap();
        let mut out = Vec::new();
        let done = run_to(&command, &mut out);
        (out, done)
    }

    fn names(&self, arguments: &str) -> Vec<String> {
        let (text, _) = self.run(arguments);
        let lines = text.lines().map(|line| serde_json::from_str::<Message>(line).unwrap());
        lines.map(|message| message.queue_id).collect()
    }
}

#[test]
fn list_and_show() {
    let ran = Ran::new();
    assert_eq!(ran.names("list --json"), ["00DC1142012", "0C1D6142003", "77AF0142071"]);
    assert_eq!(ran.names("list --json Notls.test"), ["77AF0142071"]);
    assert_eq!(ran.names("list --json @remote.test"), ["00DC1142012"]);
    assert_eq!(ran.names("list --json 0C1D6142003"), ["0C1D6142003"]);
    let (table, good) = ran.run("list");
    assert!(good && table.starts_with(show::HEAD), "{table}");
    assert!(table.ends_with("\n\n-- 1 Kbytes in 3 Requests.\n"), "{table}");
    assert_eq!(ran.run("list nowhere.test").0, "Mail queue is empty\n");
    assert_eq!(ran.names("show --json 77AF0142071"), ["77AF0142071"]);
    assert!(ran.run("show 77AF0142071").0.starts_with("77AF0142071\n  queue:         deferred\n"));
    assert_eq!(ran.try_run("show --body 77AF0142071").0, body(527));
    for absent in ["show", "show --json", "show --body"] {
        assert_eq!(ran.run(&format!("{absent} 9999999")), (String::new(), false));
    }
    assert!(ran.try_run("show ../etc").1.unwrap_err().to_string().contains("not a queue id"));
}

#[test]
fn changes() {
    let ran = Ran::new();
    let said = |text: &str| (format!("{text}\n"), true);
    assert_eq!(ran.run("hold all"), said("2 messages held"));
    assert_eq!(ran.run("release notls.test"), said("1 message released"));
    assert_eq!(ran.run("release 77AF0142071"), ("0 messages released\n".into(), false));
    assert_eq!(ran.run("retry"), said("0 messages tried now"));
    assert_eq!(ran.run("drop 0C1D6142003"), said("1 message dropped"));
    assert_eq!(ran.names("list --json"), ["00DC1142012", "77AF0142071"]);
    assert_eq!(ran.run("expire all"), said("2 messages returned"));
    let (table, _) = ran.run("list");
    assert!(table.contains("\n77AF0142071# "), "{table}");
    assert_eq!(ran.run("drop all"), said("2 messages dropped"));
    assert_eq!(ran.run("list").0, "Mail queue is empty\n");
    assert_eq!(ran.run("list --json"), (String::new(), true));
}

#[test]
fn the_log_of_a_message() {
    let ran = Ran::new();
    let (text, good) = ran.run("log 77AF0142071");
    let line = "postfix/qmgr[1]: 77AF0142071: from=<mail001@example.com>\n";
    assert!(good && text.contains("TLS is required") && text.ends_with(line), "{text}");
    assert_eq!(ran.run("drop 77AF0142071").0, "1 message dropped\n");
    let (text, good) = ran.run("log 77AF0142071");
    assert!(good && text.starts_with("77AF0142071: not in the queue\n"), "{text}");
    let (text, good) = ran.run("log 9999999");
    assert!(!good && text.contains("nothing; older files may know it"), "{text}");
}

#[test]
fn destinations() {
    let ran = Ran::new();
    let (table, _) = ran.run("destinations");
    let starts: Vec<_> = table.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        starts,
        ["-Destination-", "smtp:notls.test", "smtp:remote.test", "smtp:selfsigned.test"]
    );
    let (json, _) = ran.run("destinations --json");
    let second = json.lines().nth(1).unwrap();
    assert_eq!(
        second,
        "{\"transport\":\"smtp\",\"nexthop\":\"remote.test\",\"messages\":1,\"recipients\":2,\
         \"oldest\":1795333907}"
    );
    ran.run("drop all");
    assert_eq!(ran.run("destinations").0, "No destinations\n");
}

#[test]
fn a_server_that_is_there_but_silent() {
    let ran = Ran::new();
    let spool = ran.dir.path().join("spool");
    let lock = fs::File::open(&spool).unwrap();
    lock.lock().unwrap();
    let error = ran.try_run("list").1.unwrap_err().to_string();
    assert!(error.contains("a server uses this spool, but does not answer on"), "{error}");
    assert!(error.contains(&spool.join("control").display().to_string()), "{error}");
    drop(lock);
    fs::remove_dir_all(&spool).unwrap();
    let error = ran.try_run("list").1.unwrap_err().to_string();
    assert!(error.contains("spool: No such file"), "{error}");
}

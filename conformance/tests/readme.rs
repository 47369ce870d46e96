//! Every shell command of README.md, in its order, in an empty folder; and the commands that
//! `quickstart` prints.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use waypost_conformance::daemon::program;
use waypost_conformance::rig::free_ports;
use waypost_conformance::stage::run as start;

const RUN: &str = "cargo run --release -- ";
/// The ports README names, and how to choose others.
const PORTS: [(&str, &str); 5] = [
    ("2525", "--smtp-port"),
    ("2587", "--submission-port"),
    ("2465", "--submissions-port"),
    ("2993", "--imaps-port"),
    ("2526", "--remote-port"),
];
/// How long another server may take to do what is looked for.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("README.md")).map_err(|e| e.to_string())?;
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut reader = Reader {
        folder: folder.path().to_owned(),
        program: program().map_err(|e| e.to_string())?.display().to_string(),
        // The stand-in for other servers takes three in a row.
        ports: free_ports(7),
        server: None,
        remote: None,
    };
    let commands = commands(&text);
    if commands.len() < 10 {
        return Err(format!("only {} commands in README.md", commands.len()));
    }
    println!("\nREADME.md: {} commands", commands.len());
    for command in &commands {
        if command == "conformance/test" {
            let mode = fs::metadata(root.join(command)).map_err(|e| e.to_string())?.permissions();
            if mode.mode() & 0o111 == 0 {
                return Err(format!("{command} cannot be run"));
            }
        } else {
            reader.follow(command).map_err(|e| format!("{command}\n{e}"))?;
        }
        println!("ok: {command}");
    }
    // README also says where quickstart puts things.
    let named = text.split("makes a server in `./").nth(1).and_then(|t| t.split('`').next());
    let named = named.ok_or("README.md does not say where quickstart makes its server")?;
    if folder.path().join(named).join("waypost.toml").exists() {
        Ok(())
    } else {
        Err(format!("README.md says {named}, but that is not where quickstart makes its server"))
    }
}

/// The lines of all `sh` blocks.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside && !line.is_empty() && !line.starts_with('#') => {
                commands.push(line.to_owned());
            }
            _ => {}
        }
    }
    commands
}

/// Somebody who does what README says.
struct Reader {
    folder: PathBuf,
    program: String,
    ports: Vec<u16>,
    server: Option<Child>,
    remote: Option<Child>,
}

impl Reader {
    fn follow(&mut self, command: &str) -> Result<(), String> {
        let mut command = command.replace(RUN, &format!("{} ", self.program));
        for ((named, _), port) in PORTS.iter().zip(&self.ports) {
            command = command.replace(&format!(":{named}"), &format!(":{port}"));
            command = command.replace(&format!("--port {named}"), &format!("--port {port}"));
        }
        if command.contains(" quickstart") {
            return self.serve(&command);
        }
        if command.starts_with("python3 conformance/") {
            return self.stand_in(&command);
        }
        // What others have done by now: a reader who is too fast looks again.
        let asynchronous = command.starts_with("head ");
        let started = Instant::now();
        loop {
            match self.shell(&command, "") {
                Err(_) if asynchronous && started.elapsed() < PATIENCE => std::thread::yield_now(),
                result => return result.map(drop),
            }
        }
    }

    /// Starts the stand-in for other servers, and waits until it listens.
    fn stand_in(&mut self, command: &str) -> Result<(), String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let command =
            command.replace("conformance/", &format!("{}/conformance/", script.display()));
        let child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .spawn();
        self.remote = Some(child.map_err(|e| e.to_string())?);
        let started = Instant::now();
        for port in &self.ports[4..] {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_err() {
                if started.elapsed() > PATIENCE {
                    return Err(format!("nobody listens on port {port}"));
                }
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    fn shell(&self, command: &str, input: &str) -> Result<String, String> {
        let folder = self.folder.display().to_string();
        let script = format!("cd '{folder}' && {command}");
        start("sh", &["-c", &script], input.as_bytes())
    }

    /// Starts a server in place of the one before, and does what it tells to do.
    fn serve(&mut self, command: &str) -> Result<(), String> {
        let io = |e: std::io::Error| e.to_string();
        self.stop();
        let mut arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
        for ((_, flag), port) in PORTS.iter().zip(&self.ports) {
            arguments.extend([(*flag).to_owned(), port.to_string()]);
        }
        let mut child = Command::new(&arguments[0])
            .args(&arguments[1..])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(io)?;
        let output = child.stdout.take().ok_or("stdout is a pipe")?;
        self.server = Some(child);
        // It serves before it tells how to use it; the last thing it tells is about IMAPS.
        let last = format!(":{}", self.ports[3]);
        let mut told = String::new();
        for line in BufReader::new(output).lines() {
            let line = line.map_err(io)?;
            told.push_str(&line);
            told.push('\n');
            if line.contains("openssl") && line.contains(&last) {
                break;
            }
        }
        let printed = printed(&told);
        if printed.len() < 5 {
            return Err(format!("it does not tell what to do:\n{told}"));
        }
        for command in printed {
            let input = if command.contains("smtp") { "QUIT\n" } else { "a LOGOUT\n" };
            self.shell(&command, input)?;
            println!("  ok: {command}");
        }
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.server.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
        if let Some(mut remote) = self.remote.take() {
            let _ = remote.kill();
            let _ = remote.wait();
        }
    }
}

/// Indented lines, with what a backslash continues.
fn printed(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines().filter(|l| l.starts_with("  ")) {
        let part = line.trim().trim_end_matches('\\').trim_end();
        match commands.last_mut() {
            Some(last) if open => {
                last.push(' ');
                last.push_str(part);
            }
            _ => commands.push(part.to_owned()),
        }
        open = line.ends_with('\\');
    }
    commands
}

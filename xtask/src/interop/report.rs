//! The command: installs, builds, runs the lanes, compares with the page, prints the figures.
//!
//! It decides nothing about a case: what a client printed is what counts, and a run that could not
//! be made is an error, never a pass.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::client::{CLIENTS, Client, FEATURES, LOADERS, folder};
use super::scratch::Scratch;
use super::session::{self, Column};
use super::table::{Count, Table, draw};
use super::{install, kill};
use crate::toolbox;

/// Clients that run at the same time; no more than two of them are Java's, so this is it.
const LANES: usize = 2;

/// What `cargo xtask interop` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Only the clients whose name begins so (java-5.4.0, go, node …), or only the `kills`
    #[arg(long, value_name = "CLIENT")]
    pub only: Option<String>,
    /// Kills under load, in each of the two flush modes; 0: none
    #[arg(long, default_value_t = 10)]
    pub rounds: u32,
    /// Decides the moments of the kills; without it the clock does
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Runs all of it. The error names every cell that differs from the page and every lost message.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let begun = Instant::now();
    let path = folder("README.md");
    let page =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let table = Table::read(&page)?;
    let (clients, kill_too) = chosen(arguments)?;
    install::all(&clients)?;
    if kill_too {
        install::all(&LOADERS)?;
    } else if clients.is_empty() {
        return Err("no client and no kills: nothing to run".into());
    }
    let installed = begun.elapsed();
    let binary = toolbox::release()?;
    let built = begun.elapsed() - installed;
    let scratch = Scratch::new()?;
    let columns = lanes(&scratch, &binary, &clients)?;
    let tested = begun.elapsed() - installed - built;
    let mut verdicts = Vec::new();
    if !columns.is_empty() {
        print!("{}", draw(&columns));
        verdicts.push(judge(&table, &columns).map(|count| {
            println!(
                "interop: {} cells agree with interop/README.md: {} pass, {} missing methods",
                count.pass + count.missing,
                count.pass,
                count.missing
            );
        }));
    }
    let before_kills = begun.elapsed();
    if kill_too {
        verdicts.push(kills(&scratch, &binary, arguments));
    }
    let killed = begun.elapsed() - before_kills;
    println!(
        "interop: installed in {:.1} s, built in {:.1} s, features {:.1} s, kills {:.1} s",
        installed.as_secs_f64(),
        built.as_secs_f64(),
        tested.as_secs_f64(),
        killed.as_secs_f64()
    );
    let wrong: Vec<String> = verdicts.into_iter().filter_map(Result::err).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// The clients to run, and whether to run the kills.
fn chosen(arguments: &Arguments) -> Result<(Vec<Client>, bool), String> {
    let some = arguments.rounds > 0;
    match arguments.only.as_deref() {
        None => return Ok((CLIENTS.to_vec(), some)),
        Some("kills") => return Ok((Vec::new(), some)),
        Some(name) => {
            let named = |client: &&Client| client.name.starts_with(name);
            let clients: Vec<Client> = CLIENTS.iter().filter(named).copied().collect();
            if !clients.is_empty() {
                return Ok((clients, false));
            }
        }
    }
    let names: Vec<&str> = CLIENTS.iter().map(|client| client.name).collect();
    Err(format!("no client of that name; there are {}, and kills", names.join(", ")))
}

/// Runs the clients, two at a time, each on a broker of its own.
fn lanes(scratch: &Scratch, binary: &Path, clients: &[Client]) -> Result<Vec<Column>, String> {
    let queue = Mutex::new(clients.iter().copied());
    let done: Mutex<Vec<Result<Column, String>>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().ok().and_then(|mut queue| queue.next());
                    let Some(client) = next else { return };
                    let column = session::run(scratch, binary, client);
                    let column = column.map_err(|why| format!("{}: {why}", client.name));
                    if let Ok(mut done) = done.lock() {
                        done.push(column);
                    }
                }
            });
        }
    });
    let done = done.into_inner().map_err(|_| "a lane of the run died")?;
    let mut columns: Vec<Column> = done.into_iter().collect::<Result<_, _>>()?;
    if columns.len() != clients.len() {
        return Err("a lane of the run died".into());
    }
    columns.sort_by_key(|column| column.client.name);
    Ok(columns)
}

fn judge(table: &Table, columns: &[Column]) -> Result<Count, String> {
    let mut sum = Count::default();
    let mut differ = Vec::new();
    for column in columns {
        match table.compare(column) {
            Ok(count) => {
                sum.pass += count.pass;
                sum.missing += count.missing;
            }
            Err(cells) => differ.extend(cells),
        }
    }
    if differ.is_empty() && sum.pass + sum.missing == columns.len() * FEATURES.len() {
        return Ok(sum);
    }
    Err(format!(
        "{}\ninterop: {} cells differ from interop/README.md",
        differ.join("\n"),
        differ.len()
    ))
}

fn kills(scratch: &Scratch, binary: &Path, arguments: &Arguments) -> Result<(), String> {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs());
    let seed = arguments.seed.unwrap_or_else(clock);
    let mut lost = 0;
    for mode in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let outcome = kill::run(scratch, binary, mode, arguments.rounds, seed)
            .map_err(|why| format!("interop: seed {seed}: {why}"))?;
        println!(
            "interop: {}: {} kills under load, seed {seed}: {} acknowledged, {} lost; next start \
             begun at most {} us after the kill; {:.1} s",
            outcome.mode,
            outcome.rounds,
            outcome.acknowledged,
            outcome.lost,
            outcome.gap.as_micros(),
            outcome.took.as_secs_f64()
        );
        lost += outcome.lost;
    }
    if lost == 0 { Ok(()) } else { Err(format!("interop: {lost} acknowledged messages lost")) }
}

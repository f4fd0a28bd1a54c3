//! The three lines that Circus's documentation begins with: `three_lines PROGRAM [ARGUMENT...]` runs
//! three processes of a program until Ctrl-C.

use std::error::Error;

use circusd::get_arbiter;
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let program: Vec<String> = std::env::args().skip(1).collect();
    let arbiter = get_arbiter([json!({"cmd": program, "numprocesses": 3})])?;
    tokio::select! {
        ended = arbiter.start() => ended?,
        _ = tokio::signal::ctrl_c() => arbiter.stop().await?,
    }
    Ok(())
}

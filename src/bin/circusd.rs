//! circusd
fn main() {}

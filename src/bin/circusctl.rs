//! circusctl
fn main() {}

//! Named behaviours of the supervisor, as scripts: what happens, and indented below it what must
//! follow. What a seed of the simulator has found stands here, too, under its own name.

mod announced;
mod behaviours;
mod demand;
mod dependencies;
mod found;
mod frozen;
mod script;
mod signals;
mod succession;
mod vitals;

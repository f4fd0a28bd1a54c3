//! A seeded world around the supervisor.

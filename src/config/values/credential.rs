//! Names of credentials, as service managers hand them to services.

use glob::Pattern;
use serde_json::{Value as Json, json};

use crate::config::kind::{Kind, Problem, Read, text};
use crate::config::node::Node;
use crate::config::variables::Context;

/// The name of a credential, or a pattern for several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialName(pub Pattern);

impl Kind for CredentialName {
    fn name() -> String {
        "the name of a credential or a pattern".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = text(node, &Self::name(), cx)?;
        // As systemd.exec(5) wants them: names of files.
        if written.is_empty() || written.contains('/') || [".", ".."].contains(&written.as_str()) {
            let reason = format!("'{written}' is not the name of a credential");
            return Err(Problem::new(node, reason).into());
        }
        let pattern = Pattern::new(&written);
        let wrong =
            |error| Problem::new(node, format!("'{written}' is no pattern: {error}")).into();
        pattern.map(Self).map_err(wrong)
    }

    fn json(&self) -> Json {
        Json::from(self.0.as_str())
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1, "pattern": "^[^/]+$"})
    }
}

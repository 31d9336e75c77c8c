//! What models were asked, as far as single requests tell. Pure.

use modeltap_api_types::Request;

/// Requests of one route that asked the same of the same model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inference {
    /// Method.
    pub method: Option<String>,
    /// Route template.
    pub route: String,
    /// What was asked.
    pub operation: Option<String>,
    /// Of which model, where it is named.
    pub model: Option<String>,
    /// Requests.
    pub n_requests: u64,
    /// Tokens of their prompts, of those that were counted.
    pub input_tokens: Option<u64>,
    /// Tokens generated, of those that were counted.
    pub output_tokens: Option<u64>,
}

/// What rows are told apart and sorted by.
type Name<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>);

impl Inference {
    fn name(&self) -> Name<'_> {
        let of = Option::as_deref;
        (
            &self.route,
            of(&self.operation),
            of(&self.model),
            of(&self.method),
        )
    }
}

fn name_of(r: &Request) -> Name<'_> {
    let of = Option::as_deref;
    (&r.route, of(&r.operation), of(&r.model), of(&r.method))
}

/// Gathers requests of inference by route, operation and model, in the order
/// of these names, so that rows stay where they are.
#[must_use]
pub fn gather(requests: &[Request]) -> Vec<Inference> {
    let mut rows: Vec<Inference> = Vec::new();
    let asked = requests
        .iter()
        .filter(|r| r.operation.is_some() || r.model.is_some());
    for request in asked {
        let place = rows.binary_search_by(|row| row.name().cmp(&name_of(request)));
        let i = place.unwrap_or_else(|i| {
            let row = Inference {
                method: request.method.clone(),
                route: request.route.clone(),
                operation: request.operation.clone(),
                model: request.model.clone(),
                ..Inference::default()
            };
            rows.insert(i, row);
            i
        });
        let row = &mut rows[i];
        row.n_requests += 1;
        add(&mut row.input_tokens, request.input_tokens);
        add(&mut row.output_tokens, request.output_tokens);
    }
    rows
}

fn add(sum: &mut Option<u64>, n: Option<u64>) {
    if let Some(n) = n {
        *sum = Some(sum.unwrap_or(0).saturating_add(n));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(route: &str, model: Option<&str>, output_tokens: Option<u64>) -> Request {
        Request {
            method: Some("POST".into()),
            route: route.into(),
            operation: Some("chat".into()),
            model: model.map(Into::into),
            output_tokens,
            ..Request::default()
        }
    }

    #[test]
    fn requests_are_gathered_by_route_and_model_and_tokens_only_where_counted() {
        let other = Request {
            route: "/health".into(),
            ..Request::default()
        };
        let rows = gather(&[
            request("/a", Some("m"), Some(3)),
            other,
            request("/a", Some("n"), None),
            request("/a", Some("m"), None),
            request("/a", Some("m"), Some(4)),
        ]);
        let rows: Vec<_> = rows
            .iter()
            .map(|r| (r.model.as_deref(), r.n_requests, r.output_tokens))
            .collect();
        assert_eq!(rows, [(Some("m"), 3, Some(7)), (Some("n"), 1, None)]);
        assert!(gather(&[]).is_empty());
    }
}

use super::*;

#[track_caller]
fn check<T: fmt::Debug>(
    parsed: Result<T, SettingError>,
    text: &str,
    expected: Result<&str, SettingError>,
) {
    match (parsed, expected) {
        (Ok(parsed), Ok(expected)) => assert_eq!(format!("{parsed:?}"), expected, "{text:?}"),
        (Err(error), Err(expected)) => assert_eq!(error, expected, "{text:?}"),
        (parsed, expected) => panic!("{text:?}: {parsed:?}, expected {expected:?}"),
    }
}

#[test]
fn endpoint_is_http_and_shows_its_host_only() {
    for (text, expected) in [
        (
            "https://user:hunter2@hooks.example.org/services/T0/B0/xyz?key=1",
            Ok("Endpoint(https://hooks.example.org/..)"),
        ),
        (" http://[::1]:9093\n", Ok("Endpoint(http://[::1]:9093/..)")),
        ("", Err(SettingError::Empty)),
        ("hooks.example.org/services", Err(SettingError::NoUrl)),
        ("https://", Err(SettingError::NoUrl)),
        (
            "ftp://example.org/",
            Err(SettingError::Scheme("http, https")),
        ),
        (
            &format!("https://example.org/{}", "a".repeat(5000)),
            Err(SettingError::TooLong),
        ),
    ] {
        check(Endpoint::parse(text), text, expected);
    }
}

#[test]
fn secret_url_must_not_cross_a_network_in_clear() {
    for (text, is_taken) in [
        ("https://hooks.example.org/services/T0/B0/xyz", true),
        ("http://127.0.0.1:8080/services", true),
        ("http://localhost:8080/services", true),
        ("http://[::1]/services", true),
        ("http://hooks.example.org/services", false),
        ("http://127.0.0.1.example.org/services", false),
    ] {
        let parsed = Endpoint::parse_encrypted(text);
        assert_eq!(parsed.is_ok(), is_taken, "{text}");
        if !is_taken {
            assert_eq!(parsed.unwrap_err(), SettingError::InClear("https"));
        }
    }
}

#[test]
fn mail_server_is_plain_only_at_home_or_when_told_so() {
    for (text, expected) in [
        (
            "smtps://u:p@mail.example.org",
            Ok("SmtpServer(mail.example.org:465, Tls)"),
        ),
        (
            "smtp://u:p@mail.example.org",
            Ok("SmtpServer(mail.example.org:587, StartTls)"),
        ),
        (
            "smtp://mail.example.org:25",
            Ok("SmtpServer(mail.example.org:25, StartTls)"),
        ),
        (
            "smtp://mail.example.org?tls=none",
            Ok("SmtpServer(mail.example.org:25, Plain)"),
        ),
        ("smtp://localhost", Ok("SmtpServer(localhost:25, Plain)")),
        (
            "smtp://127.0.0.1:1025/",
            Ok("SmtpServer(127.0.0.1:1025, Plain)"),
        ),
        ("smtp://[::1]:1025", Ok("SmtpServer([::1]:1025, Plain)")),
        (
            "smtp://localhost?tls=required",
            Ok("SmtpServer(localhost:587, StartTls)"),
        ),
        ("smtp://h?tls=maybe", Err(SettingError::TlsParameter)),
        (
            "smtp://h?tls=none&tls=required",
            Err(SettingError::TlsParameter),
        ),
        ("smtps://h?tls=none", Err(SettingError::TlsParameter)),
        ("smtp://h/path", Err(SettingError::TlsParameter)),
        ("smtp://user@h", Err(SettingError::HalfLogin)),
        ("smtp://:p@h", Err(SettingError::HalfLogin)),
        ("smtp://u:%ff@h", Err(SettingError::Encoding)),
        ("https://h", Err(SettingError::Scheme("smtp, smtps"))),
        ("mail.example.org", Err(SettingError::NoUrl)),
    ] {
        check(SmtpServer::parse(text), text, expected);
    }
    let server = SmtpServer::parse("smtp://me%40example.org:a%2Fb%3A%25@h").unwrap();
    let (user, password) = server.login.unwrap();
    assert_eq!(
        (user.as_str(), password.reveal()),
        ("me@example.org", "a/b:%")
    );
}

#[test]
fn routing_key_and_token_have_the_right_letters() {
    let key = "0123456789abcdefABCDEF0123456789";
    assert_eq!(RoutingKey::parse(key).unwrap().reveal(), key);
    for text in ["0123", &"-".repeat(32), &"é".repeat(16)] {
        assert_eq!(
            RoutingKey::parse(text),
            Err(SettingError::RoutingKey),
            "{text}"
        );
    }
    assert_eq!(Secret::parse("a b"), Err(SettingError::NotPrintable));
    assert_eq!(Secret::parse("a\r\nb"), Err(SettingError::NotPrintable));
    assert_eq!(Secret::parse(" token\n").unwrap().reveal(), "token");
}

#[test]
fn addresses_are_parsed_one_by_one() {
    let all = addresses("a@example.org, On Call <b@example.org>").unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].email.to_string(), "b@example.org");
    for text in [
        "a@example.org,",
        "nobody",
        "a@example.org b@example.org",
        "a@e\r\nBcc: c@d",
    ] {
        assert!(addresses(text).is_err(), "{text:?}");
    }
    let many = vec!["a@example.org"; 51].join(",");
    assert_eq!(addresses(&many), Err(SettingError::TooManyAddresses));
}

#[test]
fn debug_of_all_settings_shows_no_secret() {
    let settings = Settings {
        webhook: Some(WebhookSettings {
            url: Endpoint::parse("https://hook:sesame@example.org/sesame?sesame").unwrap(),
            token: Some(Secret::parse("sesame").unwrap()),
        }),
        slack: Some(Endpoint::parse("https://hooks.slack.com/services/sesame").unwrap()),
        pagerduty: Some(PagerDutySettings {
            routing_key: RoutingKey::parse(&"sesame00".repeat(4)).unwrap(),
            url: None,
        }),
        email: Some(EmailSettings {
            server: SmtpServer::parse("smtps://me:sesame@mail.example.org").unwrap(),
            from: address("a@example.org").unwrap(),
            to: addresses("b@example.org").unwrap(),
        }),
        ..Settings::default()
    };
    let text = format!("{settings:?}");
    assert!(text.contains("hooks.slack.com"), "{text}");
    assert!(!text.contains("sesame"), "{text}");
}

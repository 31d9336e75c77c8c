"""A mail server for one test: prints its port, then a JSON line for each mail.

Arguments: plain, starttls or tls; then certificate and key. It asks for a
login by TLS. Receivers that begin with "gone" do not exist, those that begin
with "later" are refused once.
"""

import asyncio
import email
import email.policy
import json
import logging
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

KIND = sys.argv[1]
# That a login needs no STARTTLS inside TLS is nothing to warn of.
logging.getLogger("mail.log").setLevel(logging.ERROR)
LOGIN = LoginPassword(b"me@example.org", b"sesame/open:%")


class Handler:
    def __init__(self):
        self.refused = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later") and address not in self.refused:
            self.refused.add(address)
            return "450 4.2.0 greylisted, come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        told = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or KIND == "tls",
            "login": session.auth_data.login.decode() if session.auth_data else None,
            "headers": {name: str(value) for name, value in mail.items()},
            "body": mail.get_content(),
        }
        print(json.dumps(told), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data == LOGIN, handled=False, auth_data=data)


async def main():
    context = None
    if KIND != "plain":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
    handler = Handler()

    def session():
        if KIND == "plain":
            return SMTP(handler, hostname="localhost")
        login = {"authenticator": authenticate, "auth_required": True}
        if KIND == "tls":
            return SMTP(handler, hostname="localhost", auth_require_tls=False, **login)
        return SMTP(
            handler, hostname="localhost", tls_context=context, require_starttls=True, **login
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        session, "127.0.0.1", 0, ssl=context if KIND == "tls" else None
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    # Ends with the test, which holds the other end.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())

"""A mail server with STARTTLS and AUTH: mail.py FOLDER PORT. Its certificate is FOLDER/own.pem with own.key; user "me", password "pw".

What it takes lies in FOLDER/taken-N. While FOLDER/reply exists, mail is answered by what stands there, and kept in FOLDER/refused-N.
"""
import ssl
import sys
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

folder, port = Path(sys.argv[1]), int(sys.argv[2])


class Box:
    def __init__(self):
        self.count = 0

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        reply = folder / "reply"
        word = "refused" if reply.exists() else "taken"
        head = f"X-To: {','.join(envelope.rcpt_tos)}\r\nX-Tls: {session.ssl is not None}\r\nX-Login: {session.authenticated}\r\n"
        beside = folder / f"{word}-{self.count}.new"
        beside.write_bytes(head.encode() + envelope.content)
        beside.rename(folder / f"{word}-{self.count}")
        return reply.read_text().strip() if reply.exists() else "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (b"me", b"pw")
    return AuthResult(success=good, handled=False)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder / "own.pem", folder / "own.key")
controller = Controller(Box(), hostname="127.0.0.1", port=port, require_starttls=True, tls_context=context,
                        authenticator=authenticate, auth_required=True)
controller.start()
(folder / "listening").touch()
# Nobody leaves us behind: whoever started us holds the other end.
sys.stdin.read()
controller.stop()

"""Tokens that are wrong in one way each, made from a good one; and good ones that look unusual."""

import base64
import collections
import hashlib
import hmac
import json
import time
import urllib.parse
import uuid

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from stack import new_id

INVALID = ("UNAUTHENTICATED", "TOKEN_INVALID")
EXPIRED = ("UNAUTHENTICATED", "TOKEN_EXPIRED")

# A token in so many header lines, what is wrong with it, and what must come of it.
Forgery = collections.namedtuple("Forgery", "kind name lines due")


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def compact(value):
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


class Mint:
    """Makes tokens: good ones, and such as are wrong in one way."""

    def __init__(self, token, key, public):
        self.token, self.key, self.public = token, key, public
        self.head, self.body, self.signature = token.split(".")
        self.header, self.claims = json.loads(unb64(self.head)), json.loads(unb64(self.body))
        self.stranger = rsa.generate_private_key(65_537, 2048)

    def signed(self, header=None, claims=None, sign=None):
        """A token of a header and claims, each a dict or a text, signed with the issuer's key."""
        header = self.header if header is None else header
        claims = self.claims if claims is None else claims
        message = f"{b64(compact(header).encode())}.{b64(compact(claims).encode())}"
        return f"{message}.{b64((sign or self.rs)(message.encode()))}"

    def rs(self, message, key=None, digest=None):
        return (key or self.key).sign(message, padding.PKCS1v15(), digest or hashes.SHA256())

    def head_with(self, **fields):
        return self.header | fields

    def head_without(self, name):
        return {key: value for key, value in self.header.items() if key != name}

    def claiming(self, **claims):
        return self.signed(claims=self.claims | claims)

    def algorithms(self):
        for none in ("none", "None", "NONE", "nOnE", ""):
            yield f"{none!r} without a signature", self.signed(self.head_with(alg=none), sign=lambda _: b"")
        yield "none with the signature", self.signed(self.head_with(alg="none"))
        yield "none of the old body", f"{b64(compact(self.head_with(alg='none')).encode())}.{self.body}."
        encodings, forms = serialization.Encoding, serialization.PublicFormat
        secrets = {
            "PEM": self.public.public_bytes(encodings.PEM, forms.SubjectPublicKeyInfo),
            "PEM without the last line feed": self.public.public_bytes(encodings.PEM, forms.SubjectPublicKeyInfo)[:-1],
            "PKCS 1 PEM": self.public.public_bytes(encodings.PEM, forms.PKCS1),
            "DER": self.public.public_bytes(encodings.DER, forms.SubjectPublicKeyInfo),
            "PKCS 1 DER": self.public.public_bytes(encodings.DER, forms.PKCS1),
            "the modulus": self.public.public_numbers().n.to_bytes(256, "big"),
            "nothing": b"",
            "the key id": self.header["kid"].encode(),
        }
        for name, secret in secrets.items():
            for bits in (256, 384, 512):
                sign = lambda text, bits=bits, secret=secret: hmac.digest(secret, text, f"sha{bits}")
                yield f"HS{bits} with {name}", self.signed(self.head_with(alg=f"HS{bits}"), sign=sign)
        sign = lambda text: hmac.digest(secrets["PEM"], text, "sha256")
        yield "HS256 that says RS256", self.signed(sign=sign)
        for alg, digest in (("RS384", hashes.SHA384()), ("RS512", hashes.SHA512()), ("RS1", hashes.SHA256())):
            sign = lambda text, digest=digest: self.rs(text, digest=digest)
            yield f"{alg} of the right key", self.signed(self.head_with(alg=alg), sign=sign)
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        sign = lambda text: self.key.sign(text, pss, hashes.SHA256())
        yield "PS256 of the right key", self.signed(self.head_with(alg="PS256"), sign=sign)
        yield "PS256 that says RS256", self.signed(sign=sign)
        curve, edwards = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()

        def es256(text):
            numbers = decode_dss_signature(curve.sign(text, ec.ECDSA(hashes.SHA256())))
            return b"".join(number.to_bytes(32, "big") for number in numbers)

        for alg in ("ES256", "RS256"):
            yield f"ES256 that says {alg}", self.signed(self.head_with(alg=alg), sign=es256)
        yield "ES256 of zeros", self.signed(self.head_with(alg="ES256"), sign=lambda _: bytes(64))
        for alg in ("EdDSA", "RS256"):
            yield f"EdDSA that says {alg}", self.signed(self.head_with(alg=alg), sign=edwards.sign)
        for alg in ("rs256", "Rs256", "RS256 ", "RSA256", None, 256, ["RS256"], {"RS256": True}):
            yield f"alg {alg!r}", self.signed(self.head_with(alg=alg))
        yield "no alg", self.signed(self.head_without("alg"))

    def keys(self):
        kid = self.header["kid"]
        yield "no kid", self.signed(self.head_without("kid"))
        for wrong in [
            *(None, 7, True, [kid], {"kid": kid}, "", " ", "unknown", kid.swapcase(), kid[:-1], f"{kid} ", f" {kid}"),
            *("../../../../dev/null", "/dev/null", "/etc/passwd", "file:///dev/null", "..\\..\\nul", f"./{kid}"),
            *("http://127.0.0.1:1/keys", f"{kid}\0", f"{kid}\n", f"{kid}/../{kid}", "' OR '1'='1", "x' UNION SELECT 'k"),
            *("$(id)", "{{7*7}}", "k" * 4000, "\u212a" + kid[1:]),
        ]:
            yield f"kid {str(wrong)[:24]!r}", self.signed(self.head_with(kid=wrong))
        stranger = lambda text: self.rs(text, self.stranger)
        yield "the right kid of another key", self.signed(sign=stranger)
        yield "another kid of another key", self.signed(self.head_with(kid=new_id()), sign=stranger)

    def headers(self):
        numbers = self.stranger.public_key().public_numbers()
        jwk = {"kty": "RSA", "kid": self.header["kid"], "e": "AQAB", "n": b64(numbers.n.to_bytes(256, "big"))}
        stranger = lambda text: self.rs(text, self.stranger)
        for name, value in [
            *(("jku", "http://127.0.0.1:1/keys"), ("jku", ""), ("jwk", jwk), ("jwk", None), ("x5u", "http://127.0.0.1:1")),
            *(("x5c", ["MIIB"]), ("x5c", []), ("crit", ["exp"]), ("crit", []), ("crit", ["b64"]), ("crit", None)),
            *(("b64", False), ("zip", "DEF"), ("enc", "A256GCM")),
        ]:
            yield f"{name} {str(value)[:20]}", self.signed(self.head_with(**{name: value}))
        for name, value in [("jku", "http://127.0.0.1:1/keys"), ("jwk", jwk), ("x5c", ["MIIB"])]:
            yield f"{name} of another key", self.signed(self.head_with(**{name: value}), sign=stranger)
        yield "no typ", self.signed(self.head_without("typ"))
        for typ in ("JWT", "jwt", "", "at", "at+jwt ", "application/jwt", "dpop+jwt", "rt+jwt", None, 1, ["at+jwt"]):
            yield f"typ {typ!r}", self.signed(self.head_with(typ=typ))
        for text in ("{}", "[]", "null", '""', "at+jwt", "", "{", compact(self.header)[:-1], compact([self.header])):
            yield f"header {text[:12]!r}", self.signed(text)
        yield "a line before the header", self.signed("\ufeff" + compact(self.header))

    def claims_that_are_wrong(self):
        alike = {"other": "x", "empty": "", "true": True, "number": 1, "fraction": 1.5, "null": None, "list": [], "map": {}}
        number, names = {"number"}, {"list"}
        may = {"client_id": {"other"}, "iat": set(), "nbf": {"number"}, "exp": set(), "ver": number, "roles": names}
        assert set(self.claims) == {
            *("iss", "aud", "sub", "client_id", "iat", "nbf", "exp", "jti", "sid", "kind", "roles", "ver", "org"),
            "org_role",
        }, self.claims.keys()
        for name, value in self.claims.items():
            without = {key: value for key, value in self.claims.items() if key != name}
            yield f"no {name}", self.signed(claims=without)
            for what, other in alike.items():
                if what not in may.get(name, set()):
                    yield f"{name} is {what}", self.claiming(**{name: other})
            yield f"{name} in a list", self.claiming(**{name: [value]})
            # Any text names a client or a kind of user.
            if name not in ("roles", "client_id", "kind"):
                yield f"{name} as other text", self.claiming(**{name: f"{value} "})
            once = compact(self.claims)[:-1]
            yield f"{name} twice", self.signed(claims=f"{once},{compact({name: value})[1:]}")
        for iss in (f"{self.claims['iss']}/", self.claims["iss"].upper(), "https://example.com"):
            yield f"iss {iss}", self.claiming(iss=iss)
        for aud in ("API", "api,other", ["api", "other"]):
            yield f"aud {aud}", self.claiming(aud=aud)
        for kind in ("admin", "user-", "User-business", "SYSTEM", "system ", "user"):
            yield f"kind {kind}", self.claiming(kind=kind)
        yield "a service with an organisation", self.claiming(kind="system", sub="catalog")
        for body in ("null", "[]", '"x"', "", "{", compact([self.claims]), compact(self.claims) + "x", "\ufeff{}"):
            yield f"claims {body[:10]!r}", self.signed(claims=body)

    def claims_under_the_old_signature(self):
        """What somebody would like to be."""
        for name, value in [
            *(("roles", ["operator"]), ("roles", []), ("kind", "system"), ("sub", str(uuid.uuid4())), ("sub", "catalog")),
            *(("org", str(uuid.uuid4())), ("org_role", "member"), ("ver", self.claims["ver"] + 1), ("aud", "other")),
            *(("exp", self.claims["exp"] + 60), ("iat", self.claims["iat"] - 1), ("nbf", self.claims["nbf"] - 1)),
            *(("sid", str(uuid.uuid4())), ("jti", str(uuid.uuid4())), ("client_id", "other"), ("admin", True)),
        ]:
            yield f"{name} {value}", f"{self.head}.{b64(compact(self.claims | {name: value}).encode())}.{self.signature}"
        yield "white space", f"{self.head}.{b64(json.dumps(self.claims).encode())}.{self.signature}"

    def times(self):
        now = int(time.time())
        life = {"iat": now - 10, "nbf": now - 10, "exp": now + 400}
        for name, change in {
            "ends as it begins": {"exp": now - 10},
            "ends before it begins": {"exp": now - 20},
            "for too long": {"exp": now + 591},
            "for a year": {"exp": now + 31_536_000},
            "for ever": {"exp": 2**63 - 1},
            "beyond 64 bits": {"exp": 2**63},
            "far beyond 64 bits": {"exp": 10**40},
            "below zero": {"exp": -1},
            "in milliseconds": {name: value * 1000 for name, value in life.items()},
            "made tomorrow": {"iat": now + 86_400, "exp": now + 86_800},
            "made in a minute": {"iat": now + 60},
            "good in a minute": {"nbf": now + 60},
            "good tomorrow": {"nbf": now + 86_400},
            "made below any number": {"iat": -(2**63)},
        }.items():
            yield name, self.claiming(**life | change), INVALID
        for ago in (6, 60, 3600, 86_400, 31_536_000, now - 1):
            past = {"iat": now - ago - 100, "nbf": now - ago - 100, "exp": now - ago}
            yield f"over for {ago} s", self.claiming(**past), EXPIRED

    def signatures(self, another):
        whole = unb64(self.signature)
        front = f"{self.head}.{self.body}"
        for keep in (0, 1, 16, 128, 254, 255):
            yield f"{keep} bytes", f"{front}.{b64(whole[:keep])}"
        yield "all but the first byte", f"{front}.{b64(whole[1:])}"
        for bit in (0, 1, 7, 8, 63, 1000, 1024, 2040, 2047):
            flipped = int.from_bytes(whole, "big") ^ 1 << bit
            yield f"bit {bit}", f"{front}.{b64(flipped.to_bytes(256, 'big'))}"
        modulus = self.public.public_numbers().n
        for name, value in [("0", 0), ("1", 1), ("n - 1", modulus - 1), ("n", modulus), ("all bits", 2**2048 - 1)]:
            yield f"the number {name}", f"{front}.{b64(value.to_bytes(256, 'big'))}"
        more = int.from_bytes(whole, "big") + modulus
        yield "plus the modulus", f"{front}.{b64(more.to_bytes(257, 'big'))}"
        yield "a zero in front", f"{front}.{b64(bytes(1) + whole)}"
        yield "a byte more", f"{front}.{b64(whole + bytes(1))}"
        yield "twice", f"{front}.{b64(whole * 2)}"
        yield "backwards", f"{front}.{b64(whole[::-1])}"
        yield "of another token", f"{front}.{another.split('.')[2]}"
        yield "of another header", f"{another.split('.')[0]}.{self.body}.{another.split('.')[2]}"
        yield "of the body alone", f"{front}.{b64(self.rs(self.body.encode()))}"
        yield "of the hash", f"{front}.{b64(self.rs(hashlib.sha256(front.encode()).digest()))}"
        yield "of SHA-1", f"{front}.{b64(self.rs(front.encode(), digest=hashes.SHA1()))}"

    def encodings(self):
        head, body, end = self.head, self.body, self.signature
        pad = lambda text: text + "=" * (-len(text) % 4 or 4)
        for name, parts in {
            "padded header": (pad(head), body, end),
            "padded claims": (head, pad(body), end),
            "padded signature": (head, body, pad(end)),
            "padded": (pad(head), pad(body), pad(end)),
            "base64": (head, body, base64.b64encode(unb64(end)).decode()),
            "hexadecimal": (head, body, unb64(end).hex()),
            "five parts": (head, "", body, "", end),
            "four parts": (head, body, end, end),
            "two parts": (head, body),
            "one part": (head,),
            "swapped": (body, head, end),
            "a dot in front": ("", head, body, end),
            "a dot behind": (head, body, end, ""),
            "two dots": (head, "", body, end),
            "a space in the signature": (head, body, f"{end[:9]} {end[9:]}"),
            "spaces around dots": (f"{head} ", f" {body} ", f" {end}"),
            "a tab": (head, f"\t{body}", end),
            "an encoded line feed": (head, body, f"{end}%0A"),
            "encoded": tuple(urllib.parse.quote(part, safe="") + "%3D" for part in (head, body, end)),
            "capitals": (head.upper(), body, end),
            "small letters": (head.lower(), body, end.lower()),
        }.items():
            yield name, ".".join(parts)
        # The last character says fewer bits than it could.
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        for more in (1, 2, 3):
            last = letters[letters.index(end[-1]) + more]
            yield f"unused bits {more}", f"{head}.{body}.{end[:-1]}{last}"
        for name, text in {
            "dots alone": "..",
            "one dot": ".",
            "quotes": f'"{self.token}"',
            "angle brackets": f"<{self.token}>",
            "an accent": f"{self.token}é",
            "a letter that looks alike": f"{head}.{body}.а{end[1:]}",
            "a wide dot": f"{head}．{body}．{end}",
            "an invisible space": f"{self.token}\u200b",
            "a mark of the byte order": f"\ufeff{self.token}",
            "no text": b"\xff\xfe\x80",
            "JSON": compact({"protected": head, "payload": body, "signature": end}),
            "the scheme twice": f"Bearer {self.token}",
            "a comma": f"{self.token},",
            "two in a list": f"{self.token},{self.token}",
            "a parameter": f"{self.token}; v=1",
            "another protocol": "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAA.AAAA.AAAA",
            "9 KB behind": self.token + "A" * 9000,
            "12 KB of one letter": "A" * 12_000,
            "thousands of dots": "." * 8000,
        }.items():
            yield name, text
        filler = self.claims | {"filler": "x" * 8000}
        yield "a good one of 11 KB", self.signed(claims=filler)

    def lines(self, another):
        """Whole header lines, one or more."""
        token, bearer = self.token, f"Bearer {self.token}"
        for name, lines in {
            "no scheme": [token],
            "the scheme alone": ["Bearer"],
            "nothing": [""],
            "another scheme": [f"Basic {token}"],
            "a scheme of others": [f"DPoP {token}"],
            "a scheme that only begins so": [f"Bearers {token}"],
            "a scheme without a space": [f"Bearer{token}"],
            "a colon": [f"Bearer: {token}"],
            "an equals sign": [f"Bearer={token}"],
            "a tab for the space": [f"Bearer\t{token}"],
            "a comma behind the scheme": [f"Bearer, {token}"],
            "a good one twice": [bearer, bearer],
            "two good ones": [bearer, f"Bearer {another}"],
            "good and bad": [bearer, "Bearer x"],
            "bad and good": ["Bearer x", bearer],
            "good and empty": [bearer, ""],
            "good and another scheme": [bearer, "Basic eDp5"],
            "thrice": [bearer] * 3,
        }.items():
            yield name, lines

    def forgeries(self, another):
        kinds = {
            "algorithm": self.algorithms(),
            "key": self.keys(),
            "header": self.headers(),
            "claims": self.claims_that_are_wrong(),
            "claims under the old signature": self.claims_under_the_old_signature(),
            "time": self.times(),
            "signature": self.signatures(another),
            "encoding": self.encodings(),
        }
        for kind, made in kinds.items():
            for name, token, *due in made:
                line = b"Bearer " + (token if isinstance(token, bytes) else token.encode())
                yield Forgery(kind, name, [line], *due or [INVALID])
        for name, lines in self.lines(another):
            yield Forgery("lines", name, [line.encode() for line in lines], INVALID)

    def good(self):
        """What must work: forms that the standards allow, and what says more than we read."""
        for scheme in ("Bearer", "bearer", "BEARER", "bEaReR"):
            yield f"scheme {scheme}", f"{scheme} {self.token}"
        yield "more spaces", f"Bearer   {self.token}"
        for typ in ("AT+JWT", "application/at+jwt"):
            yield f"typ {typ}", f"Bearer {self.signed(self.head_with(typ=typ))}"
        yield "an unknown header", f"Bearer {self.signed(self.head_with(cty='x'))}"
        yield "an unknown claim", f"Bearer {self.claiming(scope='x')}"
        yield "of another order", f"Bearer {self.signed(claims=dict(reversed(self.claims.items())))}"

"""Made-up secrets of every known kind, put together here so that no file holds one, and text that holds none."""

from random import Random
from string import ascii_letters, digits

_RANDOM = Random(4711)
_ALNUM = ascii_letters + digits
_URL = _ALNUM + "-_"
_BASE64 = _ALNUM + "+/"
_HEX = digits + "abcdef"


def some(count: int, of: str = _ALNUM) -> str:
    """Random characters; the first and the last are letters, and one is a digit."""
    inner = "".join(_RANDOM.choice(of) for _ in range(count - 3))
    return f"a{inner}7e"


def pem(label: str, *, lines: int = 4, newline: str = "\n") -> str:
    body = newline.join(some(64, _BASE64) for _ in range(lines))
    return f"-----BEGIN {label}-----{newline}{body}{newline}{some(20, _BASE64)}=={newline}-----END {label}-----"


AWS_ID = "AKIA" + "Q7" * 8
AWS_KEY = some(40, _BASE64)
JWT = f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{some(43, _URL)}"

TOKENS = [
    ("aws_access_key_id", AWS_ID),
    ("aws_access_key_id", "ASIA" + "Z2" * 8),
    ("google_api_key", "AIza" + some(35, _URL)),
    ("google_oauth", "ya29." + some(120, _URL)),
    ("google_oauth", "GOCSPX-" + some(28, _URL)),
    *(("github_token", f"gh{letter}_{some(36)}") for letter in "pousr"),
    ("github_token", f"ghs_{some(20)}.{some(300, _URL)}.{some(43, _URL)}"),
    ("github_token", f"github_pat_{some(22)}_{some(59)}"),
    ("gitlab_token", "glpat-" + some(20, _URL)),
    ("gitlab_token", f"glpat-{some(40, _URL)}.01.{some(9, _HEX)}"),
    ("gitlab_token", "glrt-" + some(20, _URL)),
    ("slack_token", f"xoxb-{some(12, digits)}-{some(13, digits)}-{some(24)}"),
    ("slack_token", f"xoxe.xoxp-1-{some(160)}"),
    ("slack_token", f"xapp-1-A0{some(9)}-{some(13, digits)}-{some(64, _HEX)}"),
    *(("stripe_key", f"{prefix}_live_{some(24)}") for prefix in ("sk", "rk")),
    ("stripe_key", "whsec_" + some(32)),
    ("anthropic_key", f"sk-ant-api03-{some(93, _URL)}AA"),
    ("openai_key", "sk-" + some(48)),
    ("openai_key", "sk-proj-" + some(156, _URL)),
    ("huggingface_token", "hf_" + some(34)),
    ("npm_token", "npm_" + some(36)),
    ("pypi_token", "pypi-AgE" + some(160, _URL)),
    ("sendgrid_key", f"SG.{some(22, _URL)}.{some(43, _URL)}"),
    ("jwt", JWT),
    *(("private_key", pem(f"{name}PRIVATE KEY")) for name in ("", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ")),
    ("private_key", pem("PGP PRIVATE KEY BLOCK")),
    ("private_key", pem("PRIVATE KEY", newline="\\n")),
    ("private_key", pem("PRIVATE KEY", newline="\\\\r\\\\n")),
    ("private_key", pem("RSA PRIVATE KEY", newline="\n> ")),
    ("private_key", pem("RSA PRIVATE KEY", newline=" ")),
]
"""Kind and secret, wherever it stands."""

_PASSWORD = some(12, _ALNUM + "@:!$+,;")

IN_CONTEXT = [
    ("aws_secret_key", "aws_secret_access_key = ", AWS_KEY, "\nregion = eu"),
    ("aws_secret_key", "export AWS_SECRET_ACCESS_KEY='", AWS_KEY, "'"),
    ("aws_secret_key", '{"SecretAccessKey": "', AWS_KEY, '", "b": 1}'),
    ("aws_secret_key", "aws configure set aws_secret_access_key ", AWS_KEY, " --profile p"),
    ("aws_session_token", '"SessionToken":"', some(300, _BASE64) + "==", '"'),
    ("azure_storage_key", "AccountName=a;AccountKey=", some(86, _BASE64) + "==", ";EndpointSuffix=b"),
    ("azure_storage_key", "SharedAccessKey=", some(43, _BASE64) + "=", ";"),
    ("slack_webhook", "https://hooks.slack.com/services/", f"T0{some(8)}/B0{some(8)}/{some(24)}", " now"),
    ("slack_webhook", "https:\\/\\/hooks.slack.com\\/services\\/", f"T0{some(8)}\\/B0{some(8)}\\/{some(24)}", '"'),
    ("authorization", "Authorization: Bearer ", some(40, _URL), "\r\nHost: h"),
    ("authorization", "authorization: token ", some(40, _HEX), ""),
    ("authorization", "curl -H 'Authorization: Basic ", "YW15OnBhc3M=", "' h"),
    ("authorization", '{"Authorization": "Bearer ', some(20), '"}'),
    ("authorization", '{\\"authorization\\":\\"Bearer ', some(20), '\\"}'),
    ("authorization", '"Authorization": ["Bearer ', some(20), '"]'),
    ("authorization", '{"name": "Authorization", "value": "Basic ', some(20) + "==", '"}'),
    ("authorization", "PROXY-AUTHORIZATION: ", some(32, _HEX), ""),
    ("authorization", "-H x-api: Bearer ", some(30, _URL), " h"),
    ("url_password", "postgres://amy:", _PASSWORD, "@db.example:5432/app"),
    ("url_password", "redis://:", "hunter2", "@cache"),
    ("url_password", "see <https://amy:", "p", "@h.example/x?y#z>"),
    ("url_password", '{"u":"amqp:\\/\\/amy:', "hunter2", '@h"}'),
]
"""Kind, what is before the secret and says what it is, the secret, what is behind it."""

CASES = [*((kind, "", secret, "") for kind, secret in TOKENS), *IN_CONTEXT]

ORDINARY = [
    "Please look at https://example.com/a?b=c#d, http://localhost:8080/x and mail amy@example.com.",
    "The Authorization: Bearer token is required, and Authorization: Basic authentication is not.",
    'headers = {"Authorization": f"Bearer {token}"}; headers["authorization"] = "Bearer " + os.environ["TOKEN"]',
    "curl -H 'Authorization: Bearer $TOKEN' -H \"Authorization: token ${GH_TOKEN}\" -H 'Authorization: Bearer <key>'",
    "postgres://amy:${DB_PASSWORD}@h/db postgres://amy:$PASSWORD@h redis://u:****@h http://u:{password}@h ssh://git@h/r",
    "the authorization-code-flow-with-pkce-2 and bearer of good news; OAuth2 authorization, see rfc6749-section-4",
    "aws_secret_access_key = os.environ['AWS_SECRET_ACCESS_KEY']; secret_access_key: str; SESSION_TOKEN=''",
    "550e8400-e29b-41d4-a716-446655440000 d41d8cd98f00b204e9800998ecf8427e da39a3ee5e6b4b0d3255bfef95601890afd80709",
    f"sha256:{'e3b0c44298fc1c14' * 4} integrity sha512-{some(86, _BASE64)}== task-{'ab12' * 8} risk-free disk-usage",
    f"data:image/png;base64,iVBORw0KGgo{some(4000, _BASE64)}= ![](data:image/jpeg;base64,/9j/{some(4000, _BASE64)}==)",
    "npm_config_cache=/tmp npm_package_json hf_hub_download(x) sk-learn sk_live_demo ghp_ xoxo eyJ ya29 SG.1.2 AKIA",
    "BASICASIAPACIFICREGIONALHEADQUARTERS ASIAPACIFICREGIONALHEADQUARTERS AKIAMISSED",
    "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----",
    "A key begins with -----BEGIN PRIVATE KEY----- and ends with -----END PRIVATE KEY-----, with base64 between.",
    "def token(self) -> str:\n    return self._token or self.__class__._default_token  # noqa: S105\n",
    "请看这段代码：密码不在里面。令牌由环境变量提供。",
    "パスワードは環境変数から読み込みます。トークンはありません。",
    "Пароль берётся из окружения, а токен хранится в файле.",
    "Das Passwort steht nicht im Text; das Größte daran ist: es fehlt.",
    "كلمة المرور ليست في هذا النص 🔑🔒",
]
"""Text without a secret, much of it close to one."""

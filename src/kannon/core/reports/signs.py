"""Signs of what a message is: who writes, under which subject, in which words.

Each entry is a pattern of its own, looked for in any case. Words of bounces alone make none: see
`kannon.core.reports.reading`.
"""

from typing import Final

DAEMON: Final = (
    r"mailer[-_.]?daemon|mail[-_.]?daemon|\bpost[-_ .]?master\b|mail delivery (sub)?system|mail[-_ ]?deliver",
    r"\bmta[-_.]?daemon|system administrator|mail administrator|delivery[-_ ]?(sub)?system|mail ?system",
    r"\bdaemon@|\bmailer@|mail[-_ ]?server|microsoft (outlook|exchange)|smtp server|system attendant",
)
"""Of `From`: programs that send reports."""

ROBOT: Final = (
    r"\b(no|do[-_.]?not)[-_.]?reply\b|\bnotif(y|ications?)\b|\brobot\b|\bauto(mat\w{0,4})?[-_.]?(reply|mail)",
)
"""Of `From`: programs of any kind."""

BOUNCE_SUBJECT: Final = (
    r"\bundeliver(able|ed)|\bnon[- ]?deliver(y|able|ed)|\bnot (be )?delivered|\b(could|can|was|were|has|have) ?(not|n't)( been| be)? (delivered|deliver|sent|send)\b|\bunzustellbar",
    r"\bdelivery (status )?(notification|failure|failed|error|problem|report|notice|status|delayed|incomplete|has failed|to)",
    r"\b(mail|message|e-?mail) (delivery )?(failure|failed|error|returned|bounced|problem|not sent|undeliver|status report)",
    r"\bfailure notice|\bfailed (mail|delivery|message)|\breturned (mail|message|e-?mail|to sender)|\breturn(ing|ed)? .{0,20}to sender",
    r"\bnotification d'.tat|\bnondeliverable|\bpermanent error|\bundelivered mail|\bmail system error|\bmail ?could ?not",
    r"\bmessage (you sent )?(was )?(blocked|rejected|not delivered|has been delayed)|\bmail rejected|\breject(ed)? (mail|message)",
    r"\bpostmaster notify|\bwarning: (message|could not send)|\bdelivery (is )?(being )?delayed|\bdelay(ed)? (mail|delivery|message)",
    r"\b(user|recipient|address|host|mailbox) (unknown|not found|unreachable)|\bunknown (user|recipient|address)|\bmailbox.{0,10}full",
    r"zustell(ung|fehler|ungsbenachrichtigung|bericht|status)|unzustellbar|nicht zugestellt|fehlgeschlagen|nicht zustellbar",
    r"non (remis|distribu|d[ée]livr)|[ée]chec (de|d')|non recapitat|mancato recapito|non consegnat|consegna",
    r"no se (ha )?(pudo|podido|puede)? ?entreg|error de entrega|no entregad|n[aã]o (entregue|foi entregue|pode ser)|falha na entrega|devolvid",
    r"не (доставлен|может быть доставлен)|недостав|ошибка доставки|невозможно доставить|сообщение не",
    r"\bloop alert\b|\bignored not member|\barticle .{0,40}rejected|\bnot a? ?member",
    r"メールエラー|配信|配送|送信(エラー|失敗|できま)|エラーメール|宛先不明|不達|未達|届け|退信|退回|投递(失败|状态)|无法投递|未能送达|系统退信|반송|전송 ?실패",
    r"onbestelbaar|niet (bezorgd|afgeleverd)|kunde inte levereras|kunne ikke lever|niedostarcz|nie (dostarczono|mo[zż]na dostarczy)",
)
"""Of `Subject`, as reports have it."""

BOUNCE_WORDS: Final = (
    r"this is the (\S{1,40} )?(qmail-send|postfix|mail|email|mailer-daemon|dragonfly)( \S{1,20}){0,3} ?(program|system|agent|gateway|server)?",
    r"\bthis is the mailer-?daemon|\bmail(er)? delivery (sub)?system\b",
    r"\b(could|can|was|were|has|have) ?(not|n't|n’t)( yet)?( been| be)?( successfully)? (deliver|sent to|reach)",
    r"\bunable to deliver|\bnot able to deliver|\bcan't deliver|\bfail(ed|ure|s)? to deliver|\bcouldn't (be )?deliver|\bundeliver(able|ed)\b",
    r"\b(wasn't|weren't|isn't|not been|not) deliver(ed|able)|\bnot be delivered|\bnot delivered to|\bnot been delivered",
    r"\bdelivery (has |to .{0,80})?(failed|failure|aborted)|\bdele?ivery to .{0,60}(aborted|refused|rejected)|\bdelivery of (your |the |an? )(message|mail|e-?mail)\b.{0,80}\bfail|\bdelivery (attempt|error|problem|to the following)|\bpermanent (fatal )?(error|failure)",
    r"\b(following|these) (address|recipient|destination|user|distribution)\w{0,3}.{0,60}\b(fail|error|problem|not|reject|could|delivery)",
    r"\baddress(\(es\)|es)? (had|failed|follow|with)|\btranscript of (the )?session|\bfailed (addresses|recipients?)|\bunsent message",
    r"\bmessage (was|is|has been|were) (rejected|returned|refused|undeliver|bounced|blocked)|\b(rejected|returned) (your|the) (message|mail|e-?mail)",
    r"\breturn(ed|ing) (your |the )?(mail|message|e-?mail)|\bno action is required on your part|\b(your|the) message (did not|cannot|can not|can't|couldn't)",
    r"\bwhile (talking|attempting|trying|connecting) to|\bremote (host|server) (said|returned)|\bsaid: [45]\d\d|\b<<< [45]\d\d",
    r"\bretry time(out)? |\bmessage log follows|\berror(s)? (occurred|while|in) .{0,60}(deliver|send|mail)|\berror delivering your mail",
    r"\bmail(box)? (is|was|address).{0,40}(full|unknown|not exist)|\bis full and|\buser(s)? (unknown|not known)|\bno such (user|recipient|mailbox)",
    r"nicht (zugestellt|zustellbar|ausgeliefert|zugestellt werden)|konnte nicht .{0,60}(zugestellt|übermittelt|gesendet|ausgeliefert)|zustellung.{0,60}fehl",
    r"n'a pas pu|n'ont pas pu|non (remis|distribu|d[ée]livr)|impossible de (remettre|livrer|d[ée]livrer)|[ée]chec de (la )?(remise|livraison|distribution)",
    r"no (se )?(ha )?(pudo|podido|puede).{0,30}entreg|no pudo ser|n[aã]o (p[oô]de|foi|pode).{0,30}entreg|non .{0,40}(consegnat|recapitat)",
    r"не (может|могут|могло|был\w?|удалось).{0,40}доставл|не доставлен|невозможно доставить|недоставлен",
    r"(配信|配送|送信|送達|届け|お届け).{0,30}(できませ|失敗|不能|されませ|でき ?ない|エラー)|退信|无法(投递|送达|发送)|未能(送达|投递)|被退回",
    r"(kon|kan|kunde|kunne) (niet|inte|ikke).{0,40}(lever|bezorg|afgelever)|nie (mog[łl]a|zosta[łl]a|mo[zż]na).{0,40}dostarcz",
)
"""Of the text: that something was not delivered."""

DELAY_WORDS: Final = (
    r"\bnot yet been (delivered|sent)|\bhas(n't| not) (yet )?been delivered (yet|so far|after)|\bis delayed for|\bstill (trying|being tried|be retried)",
    r"\bthis is a warning message only|\bthis is only a (temporary|warning|delay)|\btemporary failure report|\byou do not need to re-?send",
    r"\bdelivery attempts will continue|\bwill (be retried|keep trying|continue to try|retry|be tried)|\bwill be (deleted|returned) (if|after)",
    r"\bdelivery (is |was |has been |being )(temporarily )?delayed|\bmessage (is|was|has been) delayed|\bnoch nicht zugestellt|\bdelay reason:",
    r"\btransient (non-?fatal|error)|\bhad transient|\bdelivery incomplete",
)
"""Of the text: that it is not over yet."""

DELAY_SUBJECT: Final = (
    r"\bdelay(ed)?\b|\bwarning: (could not send|message)|\(delay\)|\bnotification: warning|\bdelivery incomplete|verz(ö|oe)ger|\bretard",
)

AUTO_REPLY_SUBJECT: Final = (
    r"^\W{0,4}(auto(mated|matic)?|automatisch\w{0,2}|automati\w{1,5})[-: ]{0,3}(re?|reply|response|repl|answer|antwort\w{0,6}|odpowied\w{1,3}|svar|antwoord|beantwoord\w{0,4})\b",
    r"\b(auto|automatic|automated)[- ]?(reply|replies|response|responder|answer|acknowledg\w{1,8})\b|\bautoreply|\bautoresponse|\bautoanswer",
    r"\bout of (the )?(office|town)|\baway from (my|the) (mail|office|desk)|\bon (vacation|holiday|leave|annual leave|parental leave|maternity leave)\b|\bvacation\b|\booo\b|\bi am away",
    r"\babwesen|\bnicht im (b(ü|ue)ro|haus)|\burlaub|\bautomatische antwort|\bauto-antwort|\beingangsbest(ä|ae)tigung|\bim urlaub",
    r"\br[ée]ponse automatique|\babsence\b|\babsente?\b|\bhors du bureau|\ben (cong[ée]|vacances)|\bmessage d'absence",
    r"\brespuesta autom|\bfuera de (la )?oficina|\bausente|\bde vacaciones|\bresposta autom|\bfora do escrit|\baus[eê]ncia|\bde f[ée]rias",
    r"\brisposta automatica|\bfuori (ufficio|sede)|\bassenza|\bin ferie|\bassente\b",
    r"автоответ|автоматическ\w{1,3} ответ|в отпуске|нет на месте|вне офиса|отсутстви",
    r"自動(返信|応答|回答|配信)|不在(通知|のお知らせ|連絡)?|休暇|自动(回复|答复)|自動回覆|外出|休假|부재중|자동 ?(응답|회신)",
    r"\bafwezig|\bautomatisch antwoord|\bniet op kantoor|\bfr[åa]nvaro|\bautosvar|\bautomatsvar|\bfrav[æa]r|\bpoza biurem|\bnieobecno|\burlopie",
    r"\b(ticket|case|request|inquiry|enquiry)\b.{0,30}\b(received|created|opened|#|no\.|id|updated)|\[(ticket|case|request)?[ #:]{0,3}\w{0,10}[-#]?\d{3,}\]",
    r"\b(thank(s| you) for|we('ve| have)? received|received) (your |contacting|writing|e-?mailing|getting)|\backnowledg(e|ement|ment)\b|\bconfirmation of receipt",
    r"\bplease confirm|\bconfirm (your|that|you|to)|\bconfirmation (required|needed|request)|\bverify (your|that you)|\bsender verification|\bchallenge\b|\bplease (reply|respond) to (deliver|confirm)",
    r"\b(post|message|posting|mail|submission) .{0,40}(awaits|awaiting|requires|pending|needs|held for|is being held for) .{0,20}(approval|moderat|review|confirm)",
    r"\bmoderator approval|\bmoderation\b|\bheld for (approval|moderat|review)|\bsubscri(be|ption)|\bunsubscri",
)
"""Of `Subject`, as people's programs answer for them."""

AUTO_REPLY_WORDS: Final = (
    r"\b(i am|i'm|i will be|i'll be|he is|she is|currently|we are) (\w{1,12} ){0,3}(out of|away from|on (annual )?(leave|vacation|holiday)|unavailable|travell?ing)",
    r"\bautomat(ic|ed) (reply|response|answer|message|acknowledg)|\bauto-?(reply|response|generated reply)|\bno longer (work|with the company|employed|an employee)|\bhas left the company",
    r"\bthank you for (your|contacting|writing)|\bwe have received your|\bwill (get back|respond|reply|answer) (to you )?|\bour (support|customer) (team|service)",
    r"\b(ich bin|wir sind) .{0,60}(nicht (im|erreichbar|da)|abwesend|urlaub|wieder)|\bvielen dank f(ü|ue)r (ihre|deine)|\bje suis (absent|actuellement|en)|\bestar[ée] (fuera|ausente)",
    r"\bto (have|get|ensure) your (message|mail|e-?mail) (is )?(delivered|accepted)|\bplease (click|confirm|verify|reply) .{0,60}(deliver|sender|human|message)|\bnot on my (white|approved|allow)",
    r"\bis being held|\bmoderator|\bnon-member|\bpost by non|\bawaits? (moderator )?approval|\bhas been held",
)
"""Of the text: that a person, or a program in a person's place, answers."""

ANSWERED: Final = (
    r"^\W{0,3}(re|aw|sv|vs|antw?|odp|rif|res|fwd?|wg|tr|rv|enc|i|vb|doorst|回复|答复|转发|返信|転送)\s{0,2}(\[\d{1,3}\])?\s{0,2}[::]",
)
"""Of `Subject`: it answers or forwards something."""

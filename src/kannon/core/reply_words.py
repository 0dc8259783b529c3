"""Words of peers: patterns for what they say, any case, told apart by what it means for the mail.

Each entry is a pattern of its own, without nested quantifiers and with bounded repeats, for peers write what they
like. Texts are stripped of addresses and URLs before they are looked at. Which meaning comes first is decided by
the order of `RULES` in `kannon.core.replies`.
"""

from typing import Final

UNKNOWN_USER: Final = (
    r"(user|recipient|mailbox|address|account|addressee|alias|inbox|person)\b.{0,60}"
    r"\b(unknown|not found|does ?n[o']t exist|doesn't exist|invalid|no longer|not exist|rejected|unavailable)",
    r"\b(user|recipient|mailbox|address|account|addressee|alias)\b.{0,40}\b(could not|couldn't|cannot|can't|can not) "
    r"(be )?(found|resolved|located|find)",
    r"\b(user|recipient|mailbox|address|account|name|alias)\b.{0,30}\b(is|was|are)(n't| not) "
    r"(a )?(\w{1,20} )?(known|valid|listed|recogni[sz]ed|registered|local|here|present|correct|user|mailbox|recipient)",
    r"\b(no|not) such (a )?(\w{1,20} )?(user|recipient|mailbox|person|address|account|name|local|id|alias|inbox)",
    r"\bunknown (user|recipient|mailbox|local|address|account|alias|login|destination address|virtual|or )",
    r"\b(invalid|illegal|nonexist[ea]nt|non-exist[ea]nt|unrouteable|bad) "
    r"(final |delivery |destination |e-?mail |to )?(user|recipient|mailbox|address|account)\b",
    r"\bnot (a |our |an )?(\w{1,20} )?(\w{1,20} )?(user|customer|mailbox|subscriber)\b",
    r"\bno (\w{1,20} )?(mailbox|account|user|recipient)s? (here|by|with|for|found|on|of)\b",
    r"\bthere is no (one|user|such|account|mailbox|address|recipient)",
    r"\bdo(es)?(n't| not) (have|handle|host) (an?|any) .{0,40}(account|mailbox|address)",
    r"\b(account|address|mailbox) (\w{1,20} ){0,4}(that )?you (\w{1,20} ){1,4}(reach|deliver|entered).{0,20}not",
    r"\bno valid recipients?\b",
    r"\bverify the (e-?mail )?(recipient|address)",
    r"\bdelivery to (the|this) (address|user|recipient) .{0,20}not (possible|allowed)",
    r"\bnobody (here )?(by|with) that name|\bno one by that name",
    r"empf(ä|ae|a)nger.{0,40}(unbekannt|nicht gefunden|existiert nicht|ung(ü|ue)ltig)|unbekannter (empf|benutzer)",
    r"(benutzer|postfach|adresse|konto).{0,40}(unbekannt|nicht gefunden|existiert nicht|nicht bekannt|ung(ü|ue)ltig)",
    r"(utilisateur|destinataire|adresse|compte|bo[iî]te).{0,40}(inconnue?|n'existe (pas|plus)|introuvable|invalide)",
    r"(usuario|destinatario|direcci[oó]n|cuenta|buz[oó]n).{0,40}(desconocid[oa]|no existe|no encontrad[oa]|inv[aá]lid)",
    r"(usu[aá]rio|destinat[aá]rio|endere[cç]o|conta).{0,40}(desconhecid[oa]|n[aã]o existe|inexistente|inv[aá]lid)",
    r"(utente|destinatario|indirizzo|casella|account).{0,40}(sconosciut[oa]|non esiste|inesistente|non trovat[oa])",
    r"(пользовател|адрес|ящик|получател|абонент).{0,40}(не существует|не найден|неизвест|недейств|отсутств)",
    r"(нет такого|такого|неизвестн\w{1,4}) (пользовател|адрес|получател|ящик)",
    r"(ユーザ|宛先|メールアドレス|アドレス|受信者|アカウント).{0,30}(存在し|見つかり|不明|ありません|見当たり|間違)",
    r"(用户|收件人|邮箱|帐号|账号|帐户|账户|使用者|收件者|信箱).{0,20}(不存在|未找到|找不到|无效|無效|查无)|不存在.{0,10}(用户|邮箱)",
    r"(사용자|수신자|계정|메일함).{0,30}(없|존재하지|찾을 수)",
    r"(gebruiker|geadresseerde|mottagare|bruger|modtager).{0,40}(onbekend|bestaat niet|ok[äa]nd|ukendt|findes ikke)",
    r"(u[zż]ytkownik|adresat|odbiorca|konto|skrzynka).{0,40}(nie istnieje|nieznany|nie znalezion|brak)",
)
"""The address is wrong, whoever asks: nobody has it."""

SURELY_UNKNOWN: Final = (
    r"\b(user ?(name)?|recipient|mailbox|account|addressee|alias|local[- ]part)\b[^\w]{0,6}(is |was |are )?"
    r"(an )?(unknown|not found|does ?n[o']t exist|doesn't exist|do not exist|not exist|nonexist[ea]nt|non-exist[ea]nt)",
    r"\b(no|not) such (\w{1,10} )?(user|recipient|mailbox|person|account|addressee|inbox)",
    r"\bunknown (local |virtual |destination )?(user|recipient|mailbox|account|addressee|alias|local[- ]part)\b",
    r"\b(user|recipient|mailbox|account|addressee)\b.{0,30}\b(not found|does not exist|doesn't exist)",
    r"\bno (mail ?box|user|account|one|recipient) (here )?(by|with|of) (that|this) name|\bno mailbox associated|\bmailbox name not allowed",
    r"\b(account|mailbox|user|address) (\w{1,20} ){0,4}(that )?you (\w{1,20} ){1,4}(reach|deliver|entered).{0,10} does ?n[o']t exist",
    r"\bdo(es)?(n't| not) have an? (\S{1,60} )?(account|mailbox)\b",
)
"""The same in words that mean nothing else, whatever stands beside them; what is said of senders is looked for first."""

PERHAPS_UNKNOWN: Final = (
    r"\b(no|not|unknown|invalid|bad|wrong|undeliverable|cannot|can't|couldn't|could not|unable to|don't|doesn't)\b.{0,25}"
    r"\b(user|recipient|mailbox|addressee|address|account|name)\b",
    r"\b(user|recipient|mailbox|addressee|address|account|name)\b.{0,25}"
    r"\b(no|not|isn't|doesn't|unknown|invalid|deleted|removed|terminated|closed|unavailable)\b",
    r"\bnot (known|found|here|valid|local|recogni[sz]ed|listed)\b|\bwe do(n't| not) (have|know)\b|\bbad_?rcptto\b|^\W*unknown\b",
)
"""A mailbox, and a *no* near it: in reply to RCPT that is about the mailbox, if nothing else is spoken of."""

NOT_IN_DIRECTORY: Final = (
    r"\bnot (listed|found|present) in .{0,30}(directory|address book|database)|\b(recipient|user|address) is not (in|on) (my|our) \w{0,12}(rcptto|recipient|user|list)",
    r"\brecipnotfound|recipientnotfound|\badr\.\w{0,20}notfound|\badr\.badrecipient",
    r"\brecipient address rejected: *(\.{3} *)?(access denied|user unknown)",
    r"\baccount does not exist at the organi[sz]ation|\bnot found in the recipient's e-?mail system|\brecipient name is not recogni[sz]ed",
    r"\bunknown or illegal (alias|user)|\bunknown local[- ](user|part)|\bin this post office\b|\bunrecogni[sz]ed o/r name",
    r"\baccount or domain may not exist",
    r"\brequested action not taken: {0,4}(mailbox|no such user)|\bno such (user|mailbox|person|account) here\b",
    r"\binvalid recipient\b|\bdestinataire invalide|\bunknown recipient\b",
    r"\bunknown (user|mailbox|recipient): |\b(deliver|vmailmgr|vdeliver|vpopmail|maildrop): {0,4}(no such user|user unknown)",
    r"ディレクトリ.{0,12}見つかりません|(verzeichnis|adressbuch).{0,20}nicht (gefunden|aufgef)|(annuaire|carnet d'adresses).{0,20}introuvable"
    r"|(nicht|n'est pas|not) .{0,20}(domino|adressbuch|verzeichnis|annuaire|directory)",
)
"""The same, from who must know: systems that look the mailbox up, or that say so of recipients only."""

NAME_SERVER_AWAY: Final = (
    r"\bnot found, try again|\btemporary failure in name|\b(host name|name server|dns|mx)\b.{0,20}\b(timed? ?out|temporar|servfail)|\bservfail",
)
"""Whether there is such a host is not known yet."""

UNKNOWN_HOST: Final = (
    r"\b(host|domain|server|name|site|node)s?\b.{0,60}"
    r"\b(not found|unknown|(does|do) ?n[o']t exist|doesn't exist|not exist|unresolvable|no such|non-?exist[ea]nt)",
    r"\b(unknown|unresolvable|invalid|bad|illegal|no such|nonexist[ea]nt|non-exist[ea]nt) "
    r"(recipient |destination |mail |remote |target )?(host|domain|server|site)\b",
    r"\b(host|domain|server)( name)?\b.{0,40}\b(does not|doesn't|did not|cannot be|could not be|couldn't be|can't be) (resolved?|found|located)",
    r"\bunrout(e)?able (address|mail|domain)|\ball relevant mx records point to non-?exist[ea]nt",
    r"\b(dns|mx|name server|nameserver|name service|domain)\b.{0,60}\b(nxdomain|not exist|no (such )?(host|records?|data))",
    r"\bnxdomain\b|\bno such domain|\bno (dns|mx|a)( (or|and)( no)? (mx|a))? (entr(y|ies)|records?)|\bno mx (record|host)?.{0,20}(found|for)|\bmissing the proper dns entr",
    r"\b(couldn't|could not|cannot|can't|unable to|not able to) (find|resolve|look up|locate) "
    r"(any |the |a )?(\w{1,20} )?(host|domain|server|dns|mx)\b",
    r"\bname or service not known|\bno address associated with (host)?name",
    r"(dom[äaií]{1,2}n\w{0,3}|hôte|host|сервер|домен).{0,40}"
    r"(nicht gefunden|existiert nicht|n'existe pas|introuvable|no existe|inconnu|не найден|не существует)",
    r"(ドメイン|ホスト|サーバ).{0,20}(存在し|見つかり|不明)|域名.{0,10}(不存在|错误|找不到)",
)
"""The domain of the address, or its host, is not there."""

MOVED: Final = (
    r"\b(user|recipient|mailbox|account|person|addressee)\b.{0,30}\bhas moved|\bhas been replaced by\b",
    r"\baddress(es)? (has|have|was) (been )?(changed|moved|retired)|\bchanged (his|her|their) (e-?mail )?address",
    r"\bno longer on (this |the )?server|\bnot local; please try",
)
"""The one who had the address is elsewhere."""

ACCEPTS_NO_MAIL: Final = (
    r"\b(host|domain|server|system|machine|we)\b.{0,40}\b(does|do|will|can)( ?n[o']t|n't| not) (accept|receive|handle) "
    r"(\w{1,20} )?(e-?mails?|mails?|messages?)\b(?! from)",
    r"\bcouldn't find (a|any) mail exchanger|\bhas no mail exchangers?\b|\bnull mx\b|\bno mail (service|server) (here|at|on)|\bindicated no smtp service",
    r"\bname service error for .{0,80}malformed or unexpected name server reply",
    r"\bnot (a )?mail (server|host)\b|\bmail is not accepted (here|at)",
)
"""The host is there and takes no mail at all (RFC 7504, RFC 7505)."""

INACTIVE: Final = (
    r"\b(user|recipient|mailbox|address|account|inbox|domain)\b.{0,60}"
    r"\b(suspend|disabled|deactivat|inactive|not active|frozen|locked|expired|on hold|closed|blocked due to inactiv|dormant)",
    r"\b(inactive|disabled|suspended|deactivated|frozen|locked|expired|dormant) (user|recipient|mailbox|account|address)",
    r"(postfach|konto|benutzer).{0,40}(deaktiviert|gesperrt)|(compte|adresse).{0,40}(d[ée]sactiv|suspendu)",
    r"(cuenta|conta).{0,40}(suspendida|desactivada|inativa|bloqueada)|(ящик|аккаунт).{0,40}(заблокирован|отключен)",
)
"""There is such a mailbox, and its owner may get it back."""

MAILBOX_FULL: Final = (
    r"\b(mailbox|mail box|inbox|mail ?drop|mail ?folder|maildir|quota|storage|disk|space)\b.{0,60}"
    r"\b(full|exceed\w{0,3}|over|out of|insufficient|not enough|reached|too large|limit)\b",
    r"\b(account|user|recipient)\b.{0,40}\b(full|over (the |its |his |their |my )?(quota|limit|storage|disk)|out of (storage|space)"
    r"|exceed\w{0,3} .{0,40}(quota|storage|size|space|limit))\b",
    r"\b(over|exceed\w{0,3}|out of|insufficient|not enough|no|violat\w{0,4})\b.{0,30}\b(quota|storage|disk|allocated|space|room)\b",
    r"\b(exceed\w{0,3}|insufficient|not enough).{0,40}\b(mailbox|mail ?drop)\b|\btoo (much|many) (mails?|messages) (in|on)\b",
    r"\bover ?quota\b|\bspace used up|\bquota violation|\bis full\b|\bmailbox.?full\b|\bquota_?exceeded|\bexceeded the local limit",
    r"postfach.{0,30}voll|speicherplatz.{0,30}(ersch(ö|oe)pft|(ü|ue)berschritten|voll)|quota.{0,20}(ü|ue)berschritten",
    r"bo[iî]te.{0,40}pleine|quota.{0,20}d[ée]pass|buz[oó]n.{0,20}lleno|caixa.{0,30}(cheia|lotada)|casella.{0,20}piena",
    r"ящик.{0,30}(переполнен|заполнен)|(переполнен|превышен\w{0,3}).{0,30}(ящик|квот)",
    r"(メールボックス|受信箱|容量|ディスク).{0,30}(一杯|いっぱい|満杯|超え|超過|不足)|(邮箱|信箱|空间|容量).{0,10}(已满|满|不足|超)",
)
"""There is no room in the mailbox, or on the disk that it is on."""

TOO_LARGE: Final = (
    r"\b(message|mail|e-?mail|messages?|size|attachments?|data|file)\b.{0,40}"
    r"\b(too (large|big|long)|size.{0,20}(exceed|limit)|exceeds? .{0,40}(size|limit|maximum))",
    r"\b(exceeds?|exceeded|exceeding|over|larger than).{0,30}\b(message size|size limit|maximum (allowed )?size|fixed maximum)",
    r"\bsize (limit )?(exceed|exceeded)|\btoo (large|big) (message|mail|e-?mail)|\bline too long|maximum message size",
    r"nachricht.{0,30}zu gro(ß|ss)|message.{0,20}trop (gros|volumineux)|mensaje.{0,30}demasiado grande",
)
"""It is this mail that does not fit."""

AUTHENTICATION: Final = (
    r"\bdmarc\b|\bspf\b|\bdkim\b|\bsender ?id\b|\bunauthenticated (e-?mail|mail|message)",
    r"\b(e-?mail|message|mail|sender)\b.{0,30}\b(not authenticated|lacks authentication|fails? authentication|authentication (check )?fail)",
)
"""SPF, DKIM or DMARC does not hold."""

BAD_SENDER: Final = (
    r"\b(sender|from|originator|mail from|return.?path|envelope.?from|reverse.?path)\b.{0,40}"
    r"\b(rejected|denied|invalid|unknown|verif|not exist|not found|refused|not allowed|unauthorized|not permitted|bad|blocked)",
    r"\b(invalid|unknown|bad|unverified|illegal|forged|blocked|rejected|unauthorized) (envelope )?(sender|from|originator|return.?path)",
    r"\bdomain of (the )?sender\b|\bsender('s)? (e-?mail )?(address|domain)\b|\bnot (allowed|authorized|permitted) to send\b",
    r"\brestricted?.{0,40}(authenticated|senders?|members|send(ing)? to)|\bonly accepts? (messages|mail|e-?mail) from",
)
"""It does not like the sender, or does not let them write to this address."""

NO_REVERSE_NAME: Final = (
    r"\breverse.{0,3}dns\b|\brdns\b|\bptr\b|\bunverifiable sending ip|\bunresolvable relay|\breverse (lookup|mapping|name|hostname)",
    r"\b(cannot|can't|couldn't|could not|unable to) (find|resolve|verify) your (host ?name|ip|reverse|domain|server)",
    r"\bclient host rejected|\bhelo command rejected|\b(bad|invalid|illegal) (helo|ehlo)\b|\b(helo|ehlo)\b.{0,60}\b(invalid|reject|not found|need fully)",
    r"\b(dynamic|residential|generic)\b.{0,30}\b(ip|address|host|pool)",
)
"""It knows nothing of the host that sends."""

POLICY: Final = (
    r"spam|black ?list|block ?list|\bblocked\b|\bdnsbl\b|\brbl\b|reputation|\bban(ned|s)?\b|\bunsolicited|\bbulk|\bube\b|\bjunk",
    r"\bpolic(y|ies)\b|\badministrat\w{1,6} prohibit|\bprohibited|\bfilter(ed|ing|s)?\b|\bsuspicious|\bphish|\babus(e|ive)\b",
    r"\bvirus|\bmalware|\binfected|\btrojan|\bharmful|\bdangerous",
    r"\b(content|message|header|body|subject|attachment|mail|e-?mail)s?\b.{0,40}\b(rejected|denied|refused|not acceptable|forbidden|unacceptable)",
    r"\baccess denied|\bpermission denied|\bdenied by|\bnot (allowed|authori[sz]ed|permitted|accepted|acceptable)\b|\bforbidden",
    r"\b(your|sending|client|sender|invalid)\b.{0,20}\b(ip|ip address|host|server|network|address)\b.{0,50}\b(block|reject|den|listed|refus|not|poor|bad)",
    r"\binvalid ip\b|\bip (address )?.{0,40}(listed|blocked|rejected|denied)|\bnot (want|welcome)|\bcomplaints?\b",
    r"\bplease use .{0,30}(smtp|relay|server)|\bsecurity (polic|violation|reason)|\bprotocol violation|\bauthentication required|(does not|doesn't|only) accepts? .{0,30}\bfrom\b|\bsynchroni[sz]ation error",
    r"zur(ü|ue)ckgewiesen|abgelehnt|verweigert|rejet[ée]|refus[ée]|rechazad[oa]|rejeitad[oa]|отклонен|отказано|спам|拒否|拒绝|拒絕|垃圾",
)
"""It does not take this mail, or mail from here: reputation, content, local rules."""

RATE: Final = (
    r"\btoo (many|much|fast|frequent|quickly)|\bthrottl|\brate.{0,3}limit|\brate\b|\b(sending|message|mail|connection) (rate|frequency|limit)"
    r"|\bfrequency limited|\b(hourly|daily) (\w{1,20} ){0,2}limit|\blimit (per|of|for) .{0,20}(hour|day)|\bexceed\w{0,4}.{0,40}\b(rate|connections?|messages per|recipients|sending)\b",
    r"\b(limit|maximum)\b.{0,30}\b(connections?|recipients|messages|sessions)|\bslow down|\btry again later|\bresources? (restrict|temporarily)",
)
"""Too much at once."""

RELAY: Final = (
    r"\brelay|\bnot (a )?local (domain|host)|\bnot (our|a) (local )?(domain|customer domain)|\bnot? hosted here|rcpthosts",
    r"\bwe do not (accept|host|relay)|\bmail for .{0,40}not accepted|\bunable to relay",
)
"""It does not feel responsible for the domain; mostly a matter of its configuration."""

EXPIRED: Final = (
    r"\bretry time (not reached|out)|\bretry timeout|\btimeout exceeded|\b(queue|hold|delivery) (time|period|lifetime).{0,20}(expired|exceed)",
    r"\b(in the queue|undelivered|undeliverable|not (be )?delivered|been (queued|trying)|retr(y|ied|ying))\b.{0,40}"
    r"\b(too long|for \d{1,4} (hours|days|minutes)|days|time limit)",
    r"\b(delivery|message|mail) (time|has )?(expired|timed out)|\bexpired\b|\bgiving up\b.{0,30}\bdays|\bgave up\b|\btoo long in (the )?queue",
    r"\bdelivery (was )?(time-?out|timed? out|time expired)|\bcould not be delivered for|\bmaximum (retry|time)",
)
"""It was tried until its time was over."""

NETWORK: Final = (
    r"\bconnect(ion|ing|ed)?\b.{0,40}\b(refused|timed? ?out|lost|dropped|reset|fail|closed|aborted|broken|terminated)",
    r"\b(lost|dropped|no|failed|unable to establish|couldn't establish|could not).{0,20}\bconnect(ion)?\b",
    r"\b(network|socket|host|dns|route|routing)\b.{0,20}\b(error|unreachable|fail|problem|down|loop)|\bno route to host",
    r"\b(did not|didn't|not) (accept our requests|respond|answer)|\btimed? ?out\b|\btry again$|\btemporary failure in name",
    r"\bmail ?loop|\btoo many hops|\bloops? (back|detected)|\bhop count|\brouting loop|\bcould not be reached",
)
"""It could not be reached, or the way to it leads in a circle."""

SYSTEM: Final = (
    r"\b(internal|local|system|server|software|configuration|mailer|service|data ?base|i/o|processing|queue file|lookup)\b.{0,20}"
    r"\b(error|fail|problem|unavailable|down|misconfigur|trouble)|\bcan(n't|not|'t) (create|open|write|append|read|chdir|execute)",
    r"\bunknown mailer error|\bcommand (failed|died|time limit)|\bpipe (to|command)|\bprogram (failure|error)|\bexit(ed)? (status|code|with)",
)
"""Something is broken there."""

GREYLISTED: Final = (r"gr[ea]y-?list", r"postgrey", r"\bunverified address|\bverification in progress")
"""Come back in a while."""

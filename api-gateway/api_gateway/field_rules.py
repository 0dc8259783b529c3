"""What the fields of a call may hold, which depends on where its subject and HTML put them."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from api_gateway.bodies import CompiledBody, liquid, shortened, too_large
from kannon.core.added_headers import CompiledHeaders
from kannon.core.batch_options import NO_HEADERS, Syntax
from kannon.core.envelopes import MAX_CHUNK_BYTES
from kannon.core.errors import BadInput
from kannon.core.fields import Pattern, UnsafeField, compile_header, merge_fields

MAX_FIELDS: Final = 1000
"""Of a call, and of each Recipient: the call's are looked through for each of its Recipients."""
MAX_HEADER_CHARACTERS: Final = 1000
"""Of subject and alias: both stand in every mail."""
_NO_HEADERS: Final = CompiledHeaders(NO_HEADERS)


def read_fields(place: str, given: Mapping[str, str]) -> dict[str, str]:
    """Fields as a request has them; raises BadInput, before they are looked at, if they are too many."""
    if len(given) > MAX_FIELDS:
        raise BadInput(f"{place}: must not be more than {MAX_FIELDS}")
    return dict(given)


class FieldRules:
    """What the fields of one call may hold.

    Args:
        subject: with its placeholders.
        body: what is sent, likewise.
        global_fields: the fields of all Recipients.
        headers: those that the call asks for.

    Raises:
        BadInput: a global field's value cannot be stored or not stand where it is put; or the subject is no
            Liquid, which it should be.
    """

    def __init__(
        self,
        subject: str,
        body: CompiledBody,
        global_fields: Mapping[str, str],
        headers: CompiledHeaders = _NO_HEADERS,
    ) -> None:
        self._subject = _subject(subject, body)
        self._subject_grows = body.syntax is Syntax.PLAIN
        self._headers = headers
        self._html, self._sizes = body.html, body.sizes
        self._global = global_fields
        self._needed = headers.needed - {"email", *global_fields}
        self._check_values("global_fields", global_fields)
        names = {*self._sizes.names, *self._subject.names}
        self._fills_address = "email" in names and "email" not in global_fields
        self._always_fits = self._room()

    def check(self, place: str, address: str, fields: Mapping[str, str]) -> None:
        """Check the fields of a Recipient.

        Args:
            place: where the Recipient stands in the call, for the error's text.
            address: the Recipient's.
            fields: its own.

        Raises:
            BadInput: a value cannot be stored, not stand where subject or HTML put it, or makes one of
                subject and message too large.
        """
        self._check_values(f"{place}.fields", fields)
        characters = sum(map(len, fields.values()))
        if self._fills_address and "email" not in fields:
            characters += len(address)
            self._check_values(place, {"email": address})
        if characters > self._always_fits:
            self._check_lengths(place, address, fields)
        if self._headers.names:
            self._check_headers(place, address, fields)

    def unsubscribes(self, fields: Mapping[str, str]) -> bool:
        """Whether a Recipient with these fields has values for the URL that unsubscribes, if there is one."""
        return self._needed <= fields.keys()

    def _check_headers(self, place: str, address: str, fields: Mapping[str, str]) -> None:
        try:
            self._headers.write(merge_fields(address, self._global, fields))
        except UnsafeField as error:
            raise BadInput(f"{self._where(error.field, place, fields)}: {error.allowed}") from None
        except BadInput as error:
            raise BadInput(f"{place}: {error}") from None

    def _where(self, name: str, place: str, fields: Mapping[str, str]) -> str:
        if name in fields:
            return f"{place}.fields.{shortened(name)}"
        if name in self._global:
            return f"global_fields.{shortened(name)}"
        return f"{place}.email" if name == "email" else f"{place}.fields.{shortened(name)}"

    def _check_values(self, place: str, fields: Mapping[str, str]) -> None:
        for name, value in fields.items():
            if "\0" in value or "\0" in name:
                raise BadInput(f"{place}.{shortened(name)}: must not hold NUL")
        try:
            self._subject.check(fields)
            self._html.check(fields)
        except UnsafeField as error:
            raise BadInput(f"{place}.{shortened(error.field)}: {error.allowed}") from None

    def _room(self) -> int:
        """Characters that all fields of a Recipient may have together, such that no more is to be checked.

        It is negative where subject or message may be too large with the global fields alone.
        """
        uses = Counter(name for _, name, _ in self._subject.slots)
        taken = sum(map(len, self._subject.pieces))
        taken += sum(count * len(self._global.get(name, "")) for name, count in uses.items())
        in_subject = MAX_CHUNK_BYTES
        if uses and self._subject_grows:
            in_subject = (MAX_HEADER_CHARACTERS - taken) // max(uses.values())
        in_message = (MAX_CHUNK_BYTES - self._sizes.bound(self._global)) // max(self._sizes.per_character, 1)
        return min(in_subject, in_message)

    def _check_lengths(self, place: str, address: str, fields: Mapping[str, str]) -> None:
        all_fields = merge_fields(address, self._global, fields)
        characters = _characters(self._subject, all_fields)
        if characters > MAX_HEADER_CHARACTERS and self._subject_grows:
            raise BadInput(
                f"{self._longest_in_subject(place, fields)}: with it the subject would have {characters}"
                f" characters, {MAX_HEADER_CHARACTERS} are allowed"
            )
        own = fields if "email" in self._global else {"email": address, **fields}
        if self._sizes.bound(self._global, own) <= MAX_CHUNK_BYTES:
            return
        octets = self._sizes.least(all_fields)
        if octets <= MAX_CHUNK_BYTES:
            octets = self._sizes.exact(all_fields)
        if octets > MAX_CHUNK_BYTES:
            raise BadInput(f"{self._fields_in_message(place, fields)}: {too_large(octets)}")

    def _longest_in_subject(self, place: str, fields: Mapping[str, str]) -> str:
        for where, values in ((f"{place}.fields", fields), ("global_fields", self._global)):
            if names := self._subject.names & values.keys():
                return f"{where}.{shortened(max(names, key=lambda name: len(values[name])))}"
        return "subject"

    def _fields_in_message(self, place: str, fields: Mapping[str, str]) -> str:
        for where, values in ((f"{place}.fields", fields), ("global_fields", self._global)):
            if self._sizes.names & values.keys():
                return where
        return "html"


def _characters(subject: Pattern, fields: Mapping[str, str]) -> int:
    """Of a subject that is filled, told without filling it: a value may stand in it very often."""
    written = sum(map(len, subject.pieces))
    filled = ((subject.pieces[index], fields[name]) for index, name, _ in subject.slots if name in fields)
    return written + sum(len(value) - len(placeholder) for placeholder, value in filled)


def _subject(subject: str, body: CompiledBody) -> Pattern:
    """What is to be checked of a subject; of Liquid which fields it asks for: they must fit into a header."""
    if body.syntax is Syntax.PLAIN:
        return compile_header(subject)
    template = liquid("subject", subject, escapes=False)
    return compile_header("".join(f"{{{{{name}}}}}" for name in sorted(template.names())))

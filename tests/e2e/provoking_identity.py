"""What provokes the reasons of accounts, invitations and operators."""

import subprocess

from provoking import as_, environment, from_call, provokes
from stack import new_id, rows


@provokes("LOGIN_THROTTLED")
def _(world):
    """Somebody guesses; whether the name has an account makes no difference."""
    guess = world.identity_messages.LoginRequest(email=f"{new_id()}@example.com", password="not the password")
    for _ in range(30):
        said = from_call(world.identity.Login, guess)
        if said.reason != "CREDENTIALS_INVALID":
            return said


def invite(world, email):
    messages = world.identity_messages
    invitation = messages.CreateInvitationRequest(
        organisation_id=world.organisation(world.seller), email=email, role=messages.MEMBER_ROLE_MEMBER
    )
    return world.identity.CreateInvitation(invitation, metadata=as_(world.seller)).token


@provokes("INVITATION_NOT_FOUND")
def _(world):
    token, messages = invite(world, world.mover.email), world.identity_messages
    wrong = messages.AcceptInvitationRequest(request_id=new_id(), token=token[::-1])
    return from_call(world.identity.AcceptInvitation, wrong, metadata=as_(world.mover))


@provokes("INVITATION_EMAIL_MISMATCH")
def _(world):
    token, messages = invite(world, "somebody-else@example.com"), world.identity_messages
    accept = messages.AcceptInvitationRequest(request_id=new_id(), token=token)
    return from_call(world.identity.AcceptInvitation, accept, metadata=as_(world.mover))


@provokes("INVITATIONS_TOO_MANY")
def _(world):
    seller, messages = world.person("BUSINESS"), world.identity_messages
    organisation = world.organisation(seller)
    for number in range(200):
        invitation = messages.CreateInvitationRequest(
            organisation_id=organisation, email=f"{number}-{new_id()}@example.com", role=messages.MEMBER_ROLE_MEMBER
        )
        try:
            world.identity.CreateInvitation(invitation, metadata=as_(seller))
        except Exception:  # the one that is too many, which is asked for once more
            return from_call(world.identity.CreateInvitation, invitation, metadata=as_(seller))


@provokes("LAST_OPERATOR")
def _(world):
    """Of all operators that earlier runs may have left, the new one stays alone."""
    operator, messages = world.person(), world.identity_messages
    variables, program = environment("identity")
    grant = [program, "grant", "--email", operator.email, "--role", "operator"]
    subprocess.run(grant, env=variables, check=True, stdout=subprocess.DEVNULL)
    operator.log_in(operator.email, operator.password)
    myself = world.identity.GetViewer(messages.GetViewerRequest(), metadata=as_(operator)).user.id
    for (user,) in rows("identity", "SELECT user_id FROM user_roles WHERE role = 'operator'"):
        if user != myself:
            revoke = messages.RevokeRoleRequest(request_id=new_id(), user_id=user, role="operator")
            world.identity.RevokeRole(revoke, metadata=as_(operator))
    last = messages.RevokeRoleRequest(request_id=new_id(), user_id=myself, role="operator")
    return from_call(world.identity.RevokeRole, last, metadata=as_(operator))

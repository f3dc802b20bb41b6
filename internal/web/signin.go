package web

import (
	"errors"
	"net/http"
	"strings"

	"github.com/picket-edr/picket/internal/auth"
	"github.com/picket-edr/picket/internal/httpapi"
)

type signInView struct{ Name, Next, Error string }

func (c *Console) signInPage(w http.ResponseWriter, r *http.Request) error {
	if _, err := c.Sessions.Identify(r); err == nil {
		http.Redirect(w, r, Home, http.StatusSeeOther)
		return nil
	}
	return c.render(w, http.StatusOK, "signin.html", pageData{Title: "Sign in", Page: signInView{Next: safeNextPath(r.URL.Query().Get("next"))}})
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) error {
	if _, complete, err := httpapi.ReadUnauthenticatedStart(w, r); err != nil {
		return err
	} else if !complete {
		return httpapi.Errorf(http.StatusRequestEntityTooLarge, "the form is larger than %d bytes", httpapi.MaxUnauthenticatedBytes)
	}
	if err := r.ParseForm(); err != nil {
		return httpapi.Errorf(http.StatusBadRequest, "read the form: %v", err)
	}
	name, next := r.PostForm.Get("name"), safeNextPath(r.PostForm.Get("next"))
	secret, err := c.Sessions.SignIn(r.Context(), name, r.PostForm.Get("password"), auth.ClientIP(r))
	if refused, ok := errors.AsType[*auth.SignInError](err); ok {
		c.Audit.CountSignInRefusal(refused.User, auth.ClientIP(r))
		text := "Wrong name or password."
		if errors.Is(err, auth.ErrTooManySignInFailures) {
			text = "Too many failed attempts. Wait a minute."
		}
		return c.render(w, httpapi.StatusOf(err), "signin.html", pageData{Title: "Sign in", Page: signInView{name, next, text}})
	}
	if err != nil {
		return err
	}
	c.Audit.Record(r.Context(), auth.Identity{Kind: auth.KindUser, Subject: name}, "sign-in", auth.ClientIP(r), "")
	http.SetCookie(w, newSessionCookie(r, secret, int(auth.SessionLifetime.Seconds())))
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

// maxNextBytes bounds the path to return to after a sign-in, because the form with
// it must fit into httpapi.MaxUnauthenticatedBytes bytes.
const maxNextBytes = 512

// safeNextPath returns next if it is a path of the console, to prevent open redirects,
// and Home otherwise.
func safeNextPath(next string) string {
	if len(next) > maxNextBytes || !strings.HasPrefix(next, Home) || strings.ContainsAny(next, "\\\r\n") {
		return Home
	}
	return next
}

// newSessionCookie returns the session's cookie. Behind TLS, browsers send it over TLS only.
func newSessionCookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: auth.SessionCookieName, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: httpapi.IsTLS(r), SameSite: http.SameSiteLaxMode}
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	if err := c.Sessions.SignOut(r.Context(), auth.SessionSecret(r)); err != nil {
		return err
	}
	c.Audit.Record(r.Context(), who, "sign-out", auth.ClientIP(r), "")
	http.SetCookie(w, newSessionCookie(r, "", -1))
	http.Redirect(w, r, "/console/sign-in", http.StatusSeeOther)
	return nil
}

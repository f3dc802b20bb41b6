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
	if _, err := c.Sessions.Check(r.Context(), auth.Cookie(r)); err == nil {
		http.Redirect(w, r, Home, http.StatusSeeOther)
		return nil
	}
	return c.render(w, http.StatusOK, "signin.html", pageData{Title: "Sign in", Page: signInView{Next: r.URL.Query().Get("next")}})
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		return httpapi.Errorf(http.StatusBadRequest, "read the form: %v", err)
	}
	name, next := r.PostForm.Get("name"), r.PostForm.Get("next")
	secret, err := c.Sessions.SignIn(r.Context(), name, r.PostForm.Get("password"), httpapi.ClientIP(r))
	who := auth.Identity{Kind: "user", Subject: name}
	if errors.Is(err, auth.ErrUnauthenticated) || errors.Is(err, auth.ErrTooMany) {
		c.Audit.Record(r.Context(), who, "sign-in.refused", httpapi.ClientIP(r), err.Error())
		text := "Wrong name or password."
		if errors.Is(err, auth.ErrTooMany) {
			text = "Too many failed attempts. Wait a minute."
		}
		return c.render(w, httpapi.Status(err), "signin.html", pageData{Title: "Sign in", Page: signInView{name, next, text}})
	}
	if err != nil {
		return err
	}
	c.Audit.Record(r.Context(), who, "sign-in", httpapi.ClientIP(r), "")
	http.SetCookie(w, c.cookie(secret, int(auth.SessionLifetime.Seconds())))
	// Only to a path of the console, to prevent open redirects.
	if !strings.HasPrefix(next, Home) || strings.ContainsAny(next, "\\\r\n") {
		next = Home
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func (c *Console) cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: auth.CookieName, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: c.Secure, SameSite: http.SameSiteLaxMode}
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	if err := c.Sessions.SignOut(r.Context(), auth.Cookie(r)); err != nil {
		return err
	}
	c.Audit.Record(r.Context(), who, "sign-out", httpapi.ClientIP(r), "")
	http.SetCookie(w, c.cookie("", -1))
	http.Redirect(w, r, "/console/sign-in", http.StatusSeeOther)
	return nil
}

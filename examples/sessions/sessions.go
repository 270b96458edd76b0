package main

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/cache"
	"github.com/seed-869cc763/shmkv/shm/codec"
)

// A Session is what a site knows about a user who has logged in.
type Session struct {
	User   string         `json:"user"`
	Visits int            `json:"visits"`
	Pages  map[string]int `json:"pages,omitempty"` // visits, by page
}

// Sessions are the sessions of all processes, by their identifiers. A session ends when
// nobody has used it for a while.
type Sessions struct {
	all *cache.Typed[string, Session]
	ttl time.Duration
}

// NewSessions returns the sessions in a cache. They end ttl after they were last used.
func NewSessions(c *cache.Cache, ttl time.Duration) *Sessions {
	return &Sessions{cache.NewTyped(c, codec.String[string]{}, codec.JSON[Session]{}), ttl}
}

// ErrEnded: a session that has ended, or has never been there.
var ErrEnded = errors.New("the session has ended")

// Login begins a session, and returns its identifier, which nobody can guess.
func (s *Sessions) Login(user string) (id string, err error) {
	id = rand.Text()
	return id, s.all.Add(id, Session{User: user}, s.ttl)
}

// Show returns a session, which lasts longer for that.
func (s *Sessions) Show(id string) (Session, error) {
	it, err := s.all.GetAndTouch(id, s.ttl)
	return it.Value, ended(err)
}

// Visit counts a visit of a page. No visit is lost when several processes count at the same
// time.
func (s *Sessions) Visit(id, page string) error {
	return s.all.Update(id, s.ttl, func(v *Session) error {
		if v.User == "" {
			return ErrEnded
		}
		v.Visits++
		if v.Pages == nil {
			v.Pages = map[string]int{}
		}
		v.Pages[page]++
		return nil
	})
}

// Logout ends a session.
func (s *Sessions) Logout(id string) error {
	existed, err := s.all.Delete(id)
	if err == nil && !existed {
		err = ErrEnded
	}
	return err
}

// Ends returns when a session will end if nobody uses it, and does not use it.
func (s *Sessions) Ends(id string) (time.Time, error) {
	it, err := s.all.GetItem(id)
	return it.Expires, ended(err)
}

func ended(err error) error {
	if errors.Is(err, shm.ErrNotFound) {
		return ErrEnded
	}
	return err
}

package chart

import (
	"context"
	"fmt"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/test/await"
)

// testIssuance has users who may write EgressTargets, and may or may not create Certificates.
func testIssuance(t *testing.T, c cluster) {
	const editor, issuer = "target-editor", "target-and-certificate-editor"
	const asking = `{credential: {issuerRef: {name: partner-ca}, certificate: ` +
		`{commonName: orders}}, serverCA: {system: true}}`
	const askingForMore = `{credential: {issuerRef: {name: partner-ca, kind: ClusterIssuer}, certificate: ` +
		`{commonName: admin}}, serverCA: {system: true}}`
	tests := map[string]struct {
		user    string
		before  string // the spec as somebody else wrote it, "" for none
		spec    string
		refused bool
	}{
		"nobody is asked for a certificate":   {user: editor, spec: `{credential: {secretName: own}}`},
		"an issuer is asked":                  {user: editor, spec: asking, refused: true},
		"an issuer is asked by one who may":   {user: issuer, spec: asking},
		"an issuer is asked later":            {user: editor, before: `{}`, spec: asking, refused: true},
		"another certificate is asked for":    {user: editor, before: asking, spec: askingForMore, refused: true},
		"another certificate, by one who may": {user: issuer, before: asking, spec: askingForMore},
		"something else is changed": {
			user:   editor,
			before: asking,
			spec:   strings.Replace(asking, "{credential", "{port: 8443, credential", 1),
		},
		"an issuer is not asked any more": {user: editor, before: asking, spec: `{}`},
	}
	c.grant(t, editor,
		rbacv1.PolicyRule{APIGroups: []string{v1alpha1.Group}, Resources: []string{"egresstargets"}, Verbs: []string{"*"}})
	c.grant(
		t, issuer,
		rbacv1.PolicyRule{APIGroups: []string{v1alpha1.Group}, Resources: []string{"egresstargets"}, Verbs: []string{"*"}},
		rbacv1.PolicyRule{
			APIGroups: []string{"cert-manager.io"},
			Resources: []string{"certificates"},
			Verbs:     []string{"create"},
		},
	)
	number := 0
	for name, test := range tests {
		number++
		in := fmt.Sprintf("issuance-%d", number)
		t.Run(name, func(t *testing.T) {
			c.namespace(t, in, nil)
			object := func(spec string) *unstructured.Unstructured {
				content := egressTarget(t, spec)
				content.SetNamespace(in)
				content.SetName("external.system.com")
				return content
			}
			user := c.as(t, test.user, "system:authenticated")
			wanted := object(test.spec)
			var err error
			if test.before == "" {
				err = user.Create(t.Context(), wanted)
			} else {
				present := object(test.before)
				if err := c.Create(t.Context(), present); err != nil {
					t.Fatal(err)
				}
				wanted.SetResourceVersion(present.GetResourceVersion())
				err = user.Update(t.Context(), wanted)
			}
			want := ""
			if test.refused {
				want = `egresstargets.mtls.egress "external.system.com" is forbidden: ValidatingAdmissionPolicy ` +
					`'mtls-egress-webhook-issuance' with binding 'mtls-egress-webhook-issuance' denied request: ` +
					`credential.issuerRef requests a certificate from cert-manager, and ` + test.user + ` is not allowed to create ` +
					`Certificates (cert-manager.io) in the namespace ` + in + `: ask an administrator for that permission, or write ` +
					`the credential to the Secret in another way`
			}
			if diff := gocmp.Diff(want, message(err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// grant lets a user do what the rules say, in every namespace.
func (c cluster) grant(t *testing.T, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	if err := c.Create(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	last := rules[len(rules)-1]
	await.True(t, "the API server knows the rights of "+user, func(ctx context.Context) bool {
		review := &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: "default", Group: last.APIGroups[0], Resource: last.Resources[0], Verb: last.Verbs[0],
			}},
		}
		return c.Create(ctx, review) == nil && review.Status.Allowed
	})
}

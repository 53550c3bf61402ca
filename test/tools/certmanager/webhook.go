package main

import (
	"context"
	"crypto/tls"

	cmwebhook "github.com/cert-manager/cert-manager/internal/webhook"
	"github.com/cert-manager/cert-manager/pkg/webhook/admission"
	"github.com/cert-manager/cert-manager/pkg/webhook/options"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// webhookProgram answers as upstream's does, with upstream's admission plugins and certificate, and
// only on the loopback interface, which upstream's server has no setting for:
// https://github.com/cert-manager/cert-manager/blob/v1.21.2/pkg/webhook/server/server.go. It knows
// upstream's flags and obeys those of its port, the connection and the certificate.
func webhookProgram(flags *pflag.FlagSet) (func(context.Context) error, error) {
	config, err := options.NewWebhookConfiguration()
	if err != nil {
		return nil, err
	}
	options.AddConfigFlags(flags, config)
	return func(ctx context.Context) error {
		parts, err := cmwebhook.NewCertManagerWebhookServer(ctrl.Log, *config)
		if err != nil {
			return err
		}
		manager, err := ctrl.NewManager(&rest.Config{}, ctrl.Options{
			Scheme:  parts.ResourceScheme,
			Metrics: metricsserver.Options{BindAddress: "0"},
			WebhookServer: webhook.NewServer(webhook.Options{
				Host:    "127.0.0.1",
				Port:    int(config.SecurePort),
				TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.GetCertificate = parts.CertificateSource.GetCertificate }},
			}),
		})
		if err != nil {
			return err
		}
		if err := manager.Add(parts.CertificateSource); err != nil {
			return err
		}
		manager.GetWebhookServer().Register("/mutate", admission.NewCustomMutationWebhook(parts.MutationWebhook))
		manager.GetWebhookServer().
			Register("/validate", admission.NewCustomValidationWebhook(parts.ResourceScheme, parts.ValidationWebhook))
		return manager.Start(ctx)
	}, nil
}

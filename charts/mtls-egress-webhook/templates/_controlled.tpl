{{/*
A CEL expression that is true unless the object is a ReplicaSet of a Deployment. Such a ReplicaSet
copies the annotations and the template of the Deployment, and it must be scalable while the webhook
is down. Workloads with any other controller are ordinary workloads, including Jobs of a CronJob:
they can have annotations from the jobTemplate that exist nowhere else.
*/}}
{{- define "mtls-egress-webhook.notControlled" -}}
!object.metadata.?ownerReferences.orValue([]).exists(owner, owner.?controller.orValue(false) &&
  request.kind.kind == 'ReplicaSet' && owner.kind == 'Deployment' && owner.apiVersion.startsWith('apps/'))
{{- end }}

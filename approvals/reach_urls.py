"""Pages that are no gate's: policies, links, and how people are reached."""

from django.urls import path

from approvals import channel_views, chat_views, insight_views, link_views, policy_views, preference_views, receipt_views

urlpatterns = [
    path("policies/", policy_views.policy_list, name="policy-list"),
    path("policies/<str:workflow>/<str:name>/", policy_views.policy_detail, name="policy-detail"),
    path("insight/", insight_views.insight_detail, name="insight"),
    path("gates/<uuid:gate_id>/decisions/<int:decision_id>/receipt/", receipt_views.receipt_detail, name="receipt-detail"),
    path("links/<str:token>/", link_views.link_detail, name="link-detail"),
    path("links/<str:token>/decisions/", link_views.link_decision_create, name="link-decision-create"),
    path("links/<str:token>/undo/", link_views.link_undo, name="link-undo"),
    path("settings/", preference_views.preference_detail, name="preference-detail"),
    path("settings/test/", preference_views.preference_test, name="preference-test"),
    path("settings/links/<uuid:link_id>/revoke/", preference_views.link_revoke, name="link-revoke"),
    path("settings/chat/<str:token>/", chat_views.account_create, name="chat-account-create"),
    path("settings/chat/<int:account_id>/end/", chat_views.account_delete, name="chat-account-delete"),
    path("settings/channels/", channel_views.channel_list, name="channel-list"),
    path("settings/channels/<int:channel_id>/", channel_views.channel_detail, name="channel-detail"),
    path("settings/channels/<int:channel_id>/<str:act>/", channel_views.channel_act, name="channel-act"),
    path("settings/deliveries/<uuid:delivery_id>/again/", channel_views.redeliver, name="delivery-again"),
    path("chat/slack/<int:channel_id>/", chat_views.slack_create, name="slack-create"),
]
